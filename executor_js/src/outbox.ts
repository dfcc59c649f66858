/**
 * Sends an attempt's lines in frames, and keeps each line until the server has stored it (E3, E5, E7, E8, E10).
 *
 * Only one frame is under way at a time, and it begins at the oldest line that is not acknowledged. If it is not
 * acknowledged, or refused, or the connection is a new one, the outbox sends again from the oldest line.
 */

import { Backlog } from "./backlog";
import type { Cancel, Clock } from "./clock";
import { fail, failure } from "./failures";
import {
  ackTimeout,
  backoff,
  byteLength,
  FRAME_BYTES,
  FRAME_PACE,
  HEARTBEAT,
  MAX_BACKLOG,
  MAX_LINE,
} from "./limits";
import type { LineRedaction } from "./link/line-redaction";
import { readFrameAck } from "./link/transport";
import type { Failure, Finish, Frame, Refusal } from "./protocol.gen";

export interface OutboxOptions {
  readonly attempt: number;
  readonly clock: Clock;
  /** Takes the secrets out of the lines, once and for all: a line is the same each time it is sent. */
  readonly redaction: LineRedaction;
  send(frame: Frame, answered: (ack: unknown) => void): void;
  /** The claim was accepted. The upstream may be called from now on, and not before (E3). */
  claimed(): void;
  /** The server has lost lines that the outbox no longer has. The outbox sends that as the attempt's end (R4). */
  forgotten(): void;
  /** The server has acknowledged the end. */
  delivered(): void;
  /** The server wants nothing more of this attempt (E4). */
  dropped(): void;
  /** The server does not know this executor: it must announce itself, then call `resume`. */
  notReady(): void;
}

export class Outbox {
  private readonly options: OutboxOptions;
  private readonly lines = new Backlog();
  private finish: Finish | null = null;
  private claimed = false;
  private online = false;
  private closed = false;
  /** Whether a frame is under way. */
  private waiting = false;
  /** Counts what was sent, so that a late acknowledgement of an earlier frame is ignored. */
  private serial = 0;
  private tries = 0;
  private retryAt = 0;
  private sentAt = 0;
  private linesAt = Number.NEGATIVE_INFINITY;
  private cancelTimer: Cancel = () => {};
  private wakeWriter: () => void = () => {};

  constructor(options: OutboxOptions) {
    this.options = options;
  }

  /**
   * Takes a line when there is room for it. Until then the caller waits and reads no more of its upstream (E10).
   * `chunk` is the JSON in the line, if the caller has read it already.
   */
  async write(line: string, chunk?: unknown): Promise<void> {
    const size = byteLength(line);
    if (size > MAX_LINE) fail("line_too_long");
    while (this.takesLines && this.lines.bytes + size > MAX_BACKLOG) await this.room();
    if (!this.takesLines) return;
    // If there are other lines, a frame is planned already.
    const planned = this.lines.length > 0;
    for (const clean of this.options.redaction.take(line, chunk)) {
      this.push(clean, clean === line ? size : byteLength(clean));
    }
    if (!planned && this.lines.length > 0) this.plan();
  }

  /** Sends the remaining lines and the end. Later lines and ends are ignored. */
  end(finish: Finish): void {
    if (!this.takesLines) return;
    for (const line of this.options.redaction.rest()) this.lines.push(line, byteLength(line));
    this.finish = finish;
    this.wakeWriter();
    this.plan();
  }

  /** The executor is announced. The outbox goes on from `expected`, or from the oldest line if that is null. */
  resume(expected: number | null): void {
    this.pause();
    this.online = true;
    this.tries = 0;
    this.retryAt = 0;
    if (this.claimed && expected !== null) this.advance(expected);
    this.plan();
  }

  /**
   * The connection is gone, or the executor announces itself again. Nothing is sent, and late acknowledgements are
   * ignored.
   */
  pause(): void {
    this.online = false;
    this.waiting = false;
    this.serial += 1;
    this.plan();
  }

  /** Ends the outbox: it sends nothing and takes nothing any more. */
  close(): void {
    this.closed = true;
    this.pause();
    this.wakeWriter();
  }

  private get takesLines(): boolean {
    return !this.closed && this.finish === null;
  }

  private push(line: string, size: number): void {
    if (size > MAX_LINE) fail("line_too_long");
    this.lines.push(line, size);
  }

  private room(): Promise<void> {
    return new Promise((resolve) => {
      this.wakeWriter = resolve;
    });
  }

  /** Does what is due, or sets the one timer for when the next thing is. */
  private plan(): void {
    this.cancelTimer();
    if (!this.online || this.closed) return;
    const wait = this.due() - this.options.clock.now();
    if (wait <= 0) this.act();
    else this.cancelTimer = this.options.clock.after(wait, () => this.act());
  }

  private due(): number {
    if (this.waiting) return this.sentAt + ackTimeout(this.tries);
    return Math.max(this.retryAt, this.nextFrameAt());
  }

  private nextFrameAt(): number {
    if (!this.claimed) return 0;
    const news = this.lines.length > 0 || this.finish !== null;
    return news ? this.linesAt + FRAME_PACE : this.sentAt + HEARTBEAT;
  }

  private act(): void {
    if (this.waiting) this.tries += 1;
    this.send(this.frame());
    this.plan();
  }

  /** A frame with the oldest lines. The claim (E3) and a heartbeat (E8) have no lines. */
  private frame(): Frame {
    const lines = this.lines.take(FRAME_BYTES);
    const done = this.claimed && this.finish !== null && lines.length === this.lines.length;
    return {
      attempt: this.options.attempt,
      index: this.lines.base,
      lines,
      done,
      finish: done ? this.finish : null,
    };
  }

  private send(frame: Frame): void {
    this.serial += 1;
    const serial = this.serial;
    this.waiting = true;
    this.sentAt = this.options.clock.now();
    if (frame.lines.length > 0) this.linesAt = this.sentAt;
    this.options.send(frame, (ack) => {
      if (serial === this.serial) this.answered(frame, ack);
    });
  }

  private answered(frame: Frame, value: unknown): void {
    this.waiting = false;
    const ack = readFrameAck(value);
    if (ack.ok) this.accepted(frame, ack.expected);
    else this.refused(ack);
    this.plan();
  }

  private accepted(frame: Frame, expected: number): void {
    this.tries = 0;
    if (this.claimed) this.stored(frame, expected);
    else this.claimAccepted(expected);
  }

  private claimAccepted(expected: number): void {
    if (expected === 0) {
      this.claimed = true;
      this.options.claimed();
    } else {
      // The server has lines that this program never sent. The attempt was run before, and must not be paid for
      // twice.
      this.drop();
    }
  }

  private stored(frame: Frame, expected: number): void {
    this.advance(expected);
    // After a stop the server has ended the run, so it acknowledges the end without the lines that remain (E9).
    const stopped = frame.finish?.reason === "aborted";
    if (frame.done && frame.finish === this.finish && (stopped || this.lines.length === 0)) {
      this.close();
      this.options.delivered();
    }
  }

  private refused({ error, expected }: Refusal): void {
    if (this.isLast(error)) this.drop();
    else if (error.code === "not_ready") this.options.notReady();
    else if (error.code === "gap" && expected !== null) this.sendFrom(expected);
    else this.sendLater();
  }

  private isLast({ code, retryable }: Failure): boolean {
    if (code === "stale_attempt" || code === "run_ended") return true;
    // Before the claim nothing was started, so nothing is lost. After it only the two codes above end an attempt
    // (E4).
    return !this.claimed && !retryable;
  }

  private sendFrom(expected: number): void {
    this.advance(expected);
    // The first gap is answered at once. A server that answers with `gap` each time is sent frames with pauses.
    if (this.tries > 0) this.sendLater();
    else this.tries = 1;
  }

  private sendLater(): void {
    this.retryAt = this.options.clock.now() + backoff(this.tries);
    this.tries += 1;
  }

  /** The server has stored all lines before `expected`. */
  private advance(expected: number): void {
    if (expected < this.lines.base) this.giveUp(expected);
    else this.lines.forget(expected);
    this.wakeWriter();
  }

  /** The server has lost lines that it had acknowledged, and the outbox has forgotten them. The answer ends there. */
  private giveUp(expected: number): void {
    this.lines.restart(expected);
    this.finish = { reason: "error", error: failure("lines_forgotten") };
    this.options.forgotten();
  }

  private drop(): void {
    this.close();
    this.options.dropped();
  }
}
