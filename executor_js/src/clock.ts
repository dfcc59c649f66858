/** Time, handed in from outside so that tests can turn it by hand. */

export type Cancel = () => void;

export interface Clock {
  /** Milliseconds since 1970. Never runs backwards. */
  now(): number;
  after(milliseconds: number, run: () => void): Cancel;
}

export const systemClock: Clock = {
  // Not Date.now(): a clock that is set back would hold back frames that are due.
  now: () => performance.timeOrigin + performance.now(),
  after(milliseconds, run) {
    const timer = setTimeout(run, milliseconds);
    return () => clearTimeout(timer);
  },
};
