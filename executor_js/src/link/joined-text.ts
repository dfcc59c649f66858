/** A text that comes in pieces, and what of it has to be taken out. */

import type { Finder, Position } from "./finder";

export const REDACTED = "[redacted]";

/** A part of the text that is taken out. `said` is whether a piece says so already. */
interface Gap {
  readonly start: number;
  readonly end: number;
  said: boolean;
}

export class JoinedText {
  private readonly finder: Finder;
  private at: Position;
  private length = 0;
  /** In their order. They do not overlap. */
  private gaps: Gap[] = [];
  /** Says when the last piece was read, for whoever joins the text. */
  readAt = 0;

  constructor(finder: Finder) {
    this.finder = finder;
    this.at = finder.start;
  }

  /** Whether nothing that was read can be a part of what has to go. */
  get idle(): boolean {
    return this.at === this.finder.start;
  }

  /** How many characters at the end can become something that has to go. */
  get open(): number {
    return this.at.open;
  }

  /** Reads the next piece, and returns where in the text it begins. */
  read(piece: string): number {
    const start = this.length;
    for (let index = 0; index < piece.length; index += 1) {
      this.at = this.finder.next(this.at, piece.charCodeAt(index));
      if (this.at.found > 0) this.takeOut(start + index + 1);
    }
    this.length += piece.length;
    return start;
  }

  /** Whether the text has a gap that ends behind this place. */
  hasGapBehind(place: number): boolean {
    return (this.gaps.at(-1)?.end ?? 0) > place;
  }

  /** Whether the open end of the text reaches before this place. */
  isOpenBefore(place: number): boolean {
    return this.length - this.open < place;
  }

  /**
   * The piece that begins at `start`, without what has to go. Pieces are asked for in their order, and each once: the
   * first one of a gap has the word for it, the others have nothing in its place.
   */
  written(start: number, piece: string): string {
    const end = start + piece.length;
    while (this.gaps[0] && this.gaps[0].end <= start) this.gaps.shift();
    let text = "";
    let at = start;
    for (const gap of this.gaps) {
      if (gap.start >= end) break;
      text += piece.slice(at - start, Math.max(gap.start, at) - start);
      if (!gap.said) text += REDACTED;
      gap.said = true;
      at = Math.min(gap.end, end);
    }
    return text + piece.slice(at - start);
  }

  /** Takes out what was found to end here. What overlaps becomes one gap. */
  private takeOut(end: number): void {
    let start = end - this.at.found;
    let said = false;
    for (let last = this.gaps.at(-1); last && last.end > start; last = this.gaps.at(-1)) {
      start = Math.min(start, last.start);
      said ||= last.said;
      this.gaps.pop();
    }
    this.gaps.push({ start, end, said });
  }
}

/** A whole text, without what has to go. */
export function withoutFinds(finder: Finder, text: string): string {
  if (!finder.isIn(text)) return text;
  const joined = new JoinedText(finder);
  return joined.written(joined.read(text), text);
}
