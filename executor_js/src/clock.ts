/** The clock that the executor is given, so that a test can give it one that the test advances. */

export type Cancel = () => void;

export interface Clock {
  /** Milliseconds since 1970. Never runs backwards. */
  now(): number;
  /** Calls `run` once, after so many milliseconds, unless it is cancelled before. */
  after(milliseconds: number, run: () => void): Cancel;
}

export const systemClock: Clock = {
  // Date.now() would not do: if the system's clock is set back, frames that are due would wait.
  now: () => performance.timeOrigin + performance.now(),
  after(milliseconds, run) {
    const timer = setTimeout(run, milliseconds);
    return () => clearTimeout(timer);
  },
};
