/**
 * Takes secrets out of the lines of one attempt, also where one is spread over several deltas (E13).
 *
 * A line is held only while the end of a text that it carries is the beginning of a secret, until the next piece of
 * that text shows what it is. All other lines pass as they are, without delay.
 */

import type { Finder } from "./finder";
import { JoinedText, withoutFinds } from "./joined-text";
import { wellFormed } from "./well-formed";

/** A shorter beginning of a secret holds no line, because many words begin like one. */
const SHORTEST_BEGINNING = 6;
/** How many lines that do not continue a text are held behind it: its end may never be decided. */
const MOST_BEHIND = 32;
/** How many characters of lines are held together. */
const MOST_HELD = 1024 * 1024;
/** What is nested deeper than this is no answer, and is cleaned as plain text. */
const DEEPEST = 200;

type Fields = Record<string, unknown>;

/** A string in a line, as a piece of the text that it continues. */
interface Piece {
  readonly text: JoinedText;
  readonly start: number;
  readonly value: string;
  /** Where in the line's JSON it stands. */
  readonly owner: Fields;
  readonly key: string;
}

interface Line {
  readonly raw: string;
  /** Null if the line is no JSON object. */
  chunk: object | null;
  /** Only those that may have to be changed. */
  readonly pieces: Piece[];
  /** Whether the line's JSON is no longer what came. */
  changed: boolean;
}

export class LineRedaction {
  private readonly newest: () => Finder;
  private finder: Finder;
  /** The texts that the lines make, by their place in a chunk. Those with nothing open are left out. */
  private readonly texts = new Map<string, JoinedText>();
  private held: Line[] = [];
  private heldSize = 0;
  private count = 0;

  /** `newest` returns the same finder until the secrets change. */
  constructor(newest: () => Finder) {
    this.newest = newest;
    this.finder = newest();
  }

  /**
   * Takes the next line, and returns the lines that can leave now. `chunk` is the JSON in the line, if the caller has
   * read it already.
   */
  take(raw: string, chunk?: unknown): string[] {
    this.renew();
    if (this.finder.empty) return [wellFormed(raw)];
    this.count += 1;
    const line = this.read(raw, isObject(chunk) && !Array.isArray(chunk) ? chunk : chunkIn(raw));
    if (this.held.length === 0 && line.pieces.length === 0) return [this.written(line)];
    this.held.push(line);
    this.heldSize += raw.length;
    return this.release(this.heldSize > MOST_HELD ? this.held.length : this.decided());
  }

  /** The lines that are still held, at the end of the answer. */
  rest(): string[] {
    return this.release(this.held.length);
  }

  /** A line that is held was read with the finder that was the newest then. */
  private renew(): void {
    if (this.held.length > 0 || this.finder === this.newest()) return;
    this.finder = this.newest();
    this.texts.clear();
  }

  private read(raw: string, chunk: object | null): Line {
    const line: Line = { raw, chunk, pieces: [], changed: false };
    if (chunk) this.look(line, chunk, null, 0);
    return line;
  }

  /**
   * Reads the strings in a part of a line. `path` says which text they continue: the same one as the strings at the
   * same place in other lines. It is null outside of the choices, where each string is by itself.
   */
  private look(line: Line, part: object, path: string | null, depth: number): void {
    if (depth > DEEPEST) line.chunk = null;
    if (Array.isArray(part)) this.lookIntoList(line, part, path, depth);
    else this.lookIntoObject(line, part as Fields, path, depth);
  }

  /** Choices and tool calls are numbered. The parts of a content are not, and continue one text. */
  private lookIntoList(line: Line, list: unknown[], path: string | null, depth: number): void {
    for (let index = 0; index < list.length; index += 1) {
      const item = list[index];
      const number = path === null ? undefined : (item as Fields | null)?.index;
      this.lookAt(line, list, index, item, typeof number === "number" ? `${path}${number}` : path, depth);
    }
  }

  private lookIntoObject(line: Line, part: Fields, path: string | null, depth: number): void {
    for (const name of Object.keys(part)) {
      const key = this.cleanKey(line, part, name);
      const inside = path === null ? (name === "choices" && depth === 0 ? "" : null) : pathTo(path, name);
      this.lookAt(line, part, key, part[key], inside, depth);
    }
  }

  private lookAt(
    line: Line,
    owner: object,
    key: string | number,
    item: unknown,
    path: string | null,
    depth: number,
  ): void {
    if (isObject(item)) {
      if (line.chunk) this.look(line, item, path, depth + 1);
    } else if (typeof item === "string" && item !== "") {
      if (path === null) this.lookAtString(line, owner as Fields, String(key), item);
      else this.lookAtPiece(line, owner as Fields, String(key), item, path);
    }
  }

  /** A name in an object is cleaned as well, because an error may list what was sent under its names. */
  private cleanKey(line: Line, owner: Fields, name: string): string {
    if (!this.finder.isIn(name)) return name;
    const clean = withoutFinds(this.finder, name);
    owner[clean] = owner[name];
    delete owner[name];
    line.changed = true;
    return clean;
  }

  private lookAtString(line: Line, owner: Fields, key: string, value: string): void {
    if (!this.finder.isIn(value)) return;
    owner[key] = withoutFinds(this.finder, value);
    line.changed = true;
  }

  private lookAtPiece(line: Line, owner: Fields, key: string, value: string, path: string): void {
    const known = this.texts.get(path);
    const text = known ?? new JoinedText(this.finder);
    const start = text.read(value);
    text.readAt = this.count;
    if (text.idle && known) this.texts.delete(path);
    else if (!text.idle && !known) this.texts.set(path, text);
    if (text.open >= SHORTEST_BEGINNING || text.hasGapBehind(start)) {
      line.pieces.push({ text, start, value, owner, key });
    }
  }

  /** How many of the held lines, from the oldest on, carry nothing that is still open. */
  private decided(): number {
    const first = this.held.findIndex((line) => line.pieces.some((piece) => this.isOpen(piece)));
    return first < 0 ? this.held.length : first;
  }

  private isOpen({ text, start, value }: Piece): boolean {
    const awaited = text.open >= SHORTEST_BEGINNING && this.count - text.readAt <= MOST_BEHIND;
    return awaited && text.isOpenBefore(start + value.length);
  }

  private release(count: number): string[] {
    return this.held.splice(0, count).map((line) => {
      this.heldSize -= line.raw.length;
      return this.written(line);
    });
  }

  private written(line: Line): string {
    for (const { text, start, value, owner, key } of line.pieces) {
      const clean = text.written(start, value);
      if (clean === value) continue;
      owner[key] = clean;
      line.changed = true;
    }
    return wellFormed(this.textOf(line));
  }

  private textOf({ raw, chunk, changed }: Line): string {
    if (!chunk) return withoutFinds(this.finder, raw);
    return changed ? `${raw.slice(0, raw.indexOf("{"))}${JSON.stringify(chunk)}` : raw;
  }
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** A message in one piece is at the place of a delta, and a text in a part of a content is at that of the content. */
const pathTo = (path: string, name: string): string =>
  name === "delta" || name === "message" || name === "text" ? path : `${path}.${name}`;

/** The JSON object in a line, with or without `data:` before it. */
function chunkIn(raw: string): object | null {
  const begin = raw.startsWith("data:") ? 5 : 0;
  const json = raw.slice(begin).trimStart();
  if (!json.startsWith("{")) return null;
  try {
    return JSON.parse(json) as object;
  } catch {
    return null;
  }
}
