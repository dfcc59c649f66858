/** A clock that stands still until a test turns it. */

import type { Cancel, Clock } from "../../src/clock";

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

export class FakeClock implements Clock {
  private time = 1_000_000;
  private timers = new Set<Timer>();

  now(): number {
    return this.time;
  }

  after(milliseconds: number, run: () => void): Cancel {
    const timer = { at: this.time + milliseconds, run };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  get pending(): number {
    return this.timers.size;
  }

  /** Runs what falls due, in order, and lets promises settle after each. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.time + milliseconds;
    await settle();
    for (let next = this.next(end); next; next = this.next(end)) {
      this.timers.delete(next);
      this.time = Math.max(this.time, next.at);
      next.run();
      await settle();
    }
    this.time = end;
  }

  private next(end: number): Timer | undefined {
    return [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
  }
}

/** Lets everything that only waits for promises go as far as it can. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
