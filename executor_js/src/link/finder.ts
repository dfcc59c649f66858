/** Finds any of many texts in another text, which may come in pieces. It reads each character once. */

/** A text of which this much, and at least so many characters, was read counts as found: the rest was cut off. */
const GREATER_PART = 3 / 4;
const SHORTEST_PART = 16;

/** Where a reader stands: at the end of a beginning of one of the texts. */
export class Position {
  readonly code: number;
  /** How long the beginning is. */
  readonly depth: number;
  /** How many of the characters that were read last are one of the texts, or the greater part of one. */
  found = 0;
  /** How many of the characters that were read last can become one of the texts, or a longer one. */
  open = 0;
  child: Position | null = null;
  sibling: Position | null = null;
  /** The longest beginning of a text that this one ends with. */
  shorter: Position | null = null;

  constructor(code: number, depth: number) {
    this.code = code;
    this.depth = depth;
  }

  after(code: number): Position | null {
    let next = this.child;
    while (next !== null && next.code !== code) next = next.sibling;
    return next;
  }

  grow(code: number): Position {
    const known = this.after(code);
    if (known) return known;
    const next = new Position(code, this.depth + 1);
    next.sibling = this.child;
    this.child = next;
    return next;
  }
}

const SMALL_A = 97;

/** Small and capital letters count as the same. */
const folded = (code: number): number => (code >= 65 && code <= 90 ? code - 65 + SMALL_A : code);

/** How many texts a finder remembers to have nothing in them, and how long they may be. */
const MOST_QUIET = 500;
const LONGEST_QUIET = 100;

/** An automaton by Aho and Corasick. */
export class Finder {
  readonly start = new Position(0, 0);
  /** What follows `start`, by the code of the letter: nearly every letter is read from there. */
  private readonly first: (Position | undefined)[] = new Array(128);
  /** Texts with nothing in them, because most that it is asked about come again with each line of an answer. */
  private readonly quiet = new Set<string>();

  constructor(texts: Iterable<string>) {
    for (const text of texts) this.add(text);
    this.connect();
  }

  get empty(): boolean {
    return this.start.child === null;
  }

  /** The position after one more character. */
  next(from: Position, unit: number): Position {
    const code = folded(unit);
    for (let at = from; ; at = at.shorter ?? this.start) {
      const next = at === this.start && code < 128 ? (this.first[code] ?? null) : at.after(code);
      if (next !== null) return next;
      if (at === this.start) return at;
    }
  }

  /** Whether one of the texts is in this one. */
  isIn(text: string): boolean {
    if (this.quiet.has(text)) return false;
    const found = this.search(text);
    if (!found && text.length <= LONGEST_QUIET) this.remember(text);
    return found;
  }

  private remember(text: string): void {
    if (this.quiet.size >= MOST_QUIET) this.quiet.clear();
    this.quiet.add(text);
  }

  private search(text: string): boolean {
    let at = this.start;
    for (let index = 0; index < text.length; index += 1) {
      at = this.next(at, text.charCodeAt(index));
      if (at.found > 0) return true;
    }
    return false;
  }

  private add(text: string): void {
    const enough = Math.min(text.length, Math.max(SHORTEST_PART, Math.ceil(text.length * GREATER_PART)));
    let at = this.start;
    for (let index = 0; index < text.length; index += 1) {
      at = at.grow(folded(text.charCodeAt(index)));
      if (at.depth >= enough) at.found = at.depth;
    }
  }

  /** Sets what depends on shorter beginnings, from the shortest to the longest. */
  private connect(): void {
    const row: Position[] = [];
    for (let next = this.start.child; next; next = next.sibling) {
      next.shorter = this.start;
      if (next.code < 128) this.first[next.code] = next;
      row.push(next);
    }
    for (const at of row) {
      const { shorter } = at;
      at.found = Math.max(at.found, shorter?.found ?? 0);
      at.open = at.child ? at.depth : (shorter?.open ?? 0);
      for (let next = at.child; next; next = next.sibling) {
        next.shorter = this.next(shorter ?? this.start, next.code);
        row.push(next);
      }
    }
  }
}
