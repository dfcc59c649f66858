/** The lines of an attempt that the server has not acknowledged yet, in order. */

/** In one frame. The server takes more, so that a frame never comes near its limit. */
const MOST_LINES = 10_000;

export class Backlog {
  private lines: string[] = [];
  private sizes: number[] = [];
  private first = 0;
  private total = 0;

  /** The index of the oldest line here: what the server expects next. */
  get base(): number {
    return this.first;
  }

  /** The index that the next line will have. */
  get end(): number {
    return this.first + this.lines.length;
  }

  get length(): number {
    return this.lines.length;
  }

  get bytes(): number {
    return this.total;
  }

  push(line: string, size: number): void {
    this.lines.push(line);
    this.sizes.push(size);
    this.total += size;
  }

  /** Returns the oldest lines: as many as fit into `bytes` and into one frame, and at least one. */
  take(bytes: number): string[] {
    let count = 0;
    let taken = 0;
    for (const size of this.sizes) {
      taken += size;
      if (count > 0 && (taken > bytes || count === MOST_LINES)) break;
      count += 1;
    }
    return this.lines.slice(0, count);
  }

  /** Forgets the lines before `index`. */
  forget(index: number): void {
    const count = Math.min(Math.max(index - this.first, 0), this.lines.length);
    this.lines.splice(0, count);
    for (const size of this.sizes.splice(0, count)) this.total -= size;
    this.first += count;
  }

  /** Drops all lines. The next one will have this index. */
  restart(index: number): void {
    this.lines = [];
    this.sizes = [];
    this.total = 0;
    this.first = index;
  }
}
