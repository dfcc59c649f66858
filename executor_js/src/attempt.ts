/** One attempt of a run: it claims the run, calls the upstream once the claim is accepted, and sends what comes. */

import type { Clock } from "./clock";
import { failureOf } from "./failures";
import type { LineRedaction } from "./link/line-redaction";
import { Outbox } from "./outbox";
import type { AbortRequest, CompletionRequest, Finish, Frame, Hold } from "./protocol.gen";
import type { Write } from "./upstream/runner";

/** A prepared upstream call: writes its lines in order and says how it ended. */
export type Job = (write: Write, signal: AbortSignal) => Promise<Finish>;

export interface AttemptOptions {
  readonly request: CompletionRequest;
  readonly job: Job;
  readonly clock: Clock;
  readonly redaction: LineRedaction;
  send(channel: string, frame: Frame, answered: (ack: unknown) => void): void;
  /** The attempt is delivered or dropped, and can be forgotten. */
  over(): void;
  /** The server does not know this executor: it must announce itself. */
  notReady(): void;
}

export class Attempt {
  readonly hold: Hold;
  private readonly job: Job;
  private readonly over: () => void;
  private readonly upstream = new AbortController();
  private readonly outbox: Outbox;

  constructor(options: AttemptOptions) {
    const { run_id, attempt, channel } = options.request;
    this.hold = { run_id, attempt };
    this.job = options.job;
    this.over = () => options.over();
    this.outbox = new Outbox({
      attempt,
      clock: options.clock,
      redaction: options.redaction,
      send: (frame, answered) => options.send(channel, frame, answered),
      claimed: () => void this.run(),
      forgotten: () => this.upstream.abort(),
      delivered: () => this.over(),
      dropped: () => this.drop(),
      notReady: () => options.notReady(),
    });
  }

  is(other: Hold | AbortRequest): boolean {
    return other.run_id === this.hold.run_id && other.attempt === this.hold.attempt;
  }

  resume(expected: number | null): void {
    this.outbox.resume(expected);
  }

  pause(): void {
    this.outbox.pause();
  }

  /** The user has stopped the run: the fetch ends at once, and the last frame says so (E9). */
  abort(): void {
    this.upstream.abort();
    this.outbox.end({ reason: "aborted", error: null });
  }

  /**
   * The server wants nothing more of this attempt (E4). The fetch ends, so that it costs no more, and nothing is
   * sent.
   */
  drop(): void {
    this.upstream.abort();
    this.outbox.close();
    this.over();
  }

  private async run(): Promise<void> {
    const { signal } = this.upstream;
    // The run was stopped before its claim was accepted, so the upstream is never called.
    if (signal.aborted) return;
    try {
      this.outbox.end(await this.job((line, chunk) => this.outbox.write(line, chunk), signal));
    } catch (error) {
      this.outbox.end({ reason: "error", error: failureOf(error, "upstream_error") });
    }
  }
}
