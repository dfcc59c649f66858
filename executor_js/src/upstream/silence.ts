/** Watches one upstream call for silence, and ends it when a limit has passed (E8). */

import type { Cancel, Clock } from "../clock";
import type { ErrorCode } from "../errors.gen";
import { FailureError, failure } from "../failures";

/** In seconds; null means that there is no limit. */
export interface SilenceLimits {
  /** From the start of the call to the first byte of the answer's body. */
  readonly firstLine: number | null;
  /** Between two arrivals of anything afterwards. */
  readonly idle: number | null;
}

/** The limits for an answer in one piece: it may take as long as the longer of the two before anything comes. */
export function limitsOfWhole({ firstLine, idle }: SilenceLimits): SilenceLimits {
  const longer = firstLine === null || idle === null ? null : Math.max(firstLine, idle);
  return { firstLine: longer, idle };
}

/** A timer that is set for longer than this would go off at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * The clock runs only while the call waits for bytes. While the reader of the answer does other things, such as
 * waiting for room in the outbox, no silence is counted.
 */
export class SilenceWatch {
  private readonly limits: SilenceLimits;
  private readonly label: string;
  private readonly clock: Clock;
  private readonly controller = new AbortController();
  private begun = false;
  private passed: FailureError | null = null;
  private cancelTimer: Cancel = () => {};

  /** The call begins now. `label` is what the user calls its connection. */
  constructor(limits: SilenceLimits, label: string, clock: Clock) {
    this.limits = limits;
    this.label = label;
    this.clock = clock;
    this.limit(limits.firstLine, "first_line_timeout");
  }

  /** Aborts when a limit has passed, with the failure as its reason. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  /** Which limit has passed; null if none has. */
  get error(): FailureError | null {
    return this.passed;
  }

  /** The call waits for the next bytes. Until the first byte the timer runs already. */
  waits(): void {
    if (this.begun) this.limit(this.limits.idle, "upstream_silent");
  }

  /** Something has arrived, or the body has ended. */
  heard(): void {
    this.begun = true;
    this.cancelTimer();
  }

  /** The call is over. */
  stop(): void {
    this.cancelTimer();
  }

  private limit(seconds: number | null, code: SilenceCode): void {
    this.cancelTimer();
    if (seconds === null) return;
    const wait = Math.min(seconds * 1_000, LONGEST_TIMER);
    this.cancelTimer = this.clock.after(wait, () => this.pass(seconds, code));
  }

  private pass(seconds: number, code: SilenceCode): void {
    this.passed = new FailureError(failure(code, SENTENCES[code](this.label, inSeconds(seconds))));
    this.controller.abort(this.passed);
  }
}

type SilenceCode = Extract<ErrorCode, "first_line_timeout" | "upstream_silent">;

const SENTENCES: Readonly<Record<SilenceCode, (label: string, time: string) => string>> = {
  first_line_timeout: (label, time) =>
    `${label} did not begin to answer within ${time}. If it needs longer, set a longer wait in the connection.`,
  upstream_silent: (label, time) =>
    `${label} began to answer and then sent nothing for ${time}. If it needs longer, set a longer wait in the connection.`,
};

const inSeconds = (seconds: number): string => (seconds === 1 ? "1 second" : `${seconds} seconds`);
