/**
 * Turns an attempt's lines into frames, and keeps each line until the server has stored it (E3, E5, E7, E8, E10).
 *
 * One frame is under way at a time, and it always begins at the oldest line that is not acknowledged. So every
 * kind of trouble (no acknowledgement, a refusal, a gap, a new connection) has one answer: send from there again.
 */

import { Backlog } from "./backlog";
import type { Cancel, Clock } from "./clock";
import { fail, failure } from "./failures";
import {
  backoff,
  byteLength,
  FRAME_BYTES,
  FRAME_PACE,
  HEARTBEAT,
  MAX_BACKLOG,
  MAX_LINE,
  patience,
} from "./limits";
import { readFrameAck } from "./link/transport";
import type { Failure, Finish, Frame, Refusal } from "./protocol.gen";

export interface OutboxOptions {
  readonly attempt: number;
  readonly clock: Clock;
  send(frame: Frame, answered: (ack: unknown) => void): void;
  /** The claim was accepted: upstream may be called now, and not before (E3). */
  claimed(): void;
  /** The server has lost lines that are not here any more; the outbox sends that as the end (R4). */
  forgotten(): void;
  /** The end was acknowledged. */
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
  /** Numbers the sendings, so that an acknowledgement of an earlier one is passed over. */
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

  /** Takes a line, as soon as there is room for it: the caller waits, and reads no further upstream (E10). */
  async write(line: string): Promise<void> {
    const size = byteLength(line);
    if (size > MAX_LINE) fail("line_too_long");
    while (this.takesLines && this.lines.bytes + size > MAX_BACKLOG) await this.room();
    if (!this.takesLines) return;
    this.lines.push(line, size);
    // With more than one line here, the next frame is planned already.
    if (this.lines.length === 1) this.plan();
  }

  /** Sends what is here, and the end mark. Later lines and ends are passed over. */
  end(finish: Finish): void {
    if (!this.takesLines) return;
    this.finish = finish;
    this.wakeWriter();
    this.plan();
  }

  /** The executor is announced: goes on from `expected`, or from the oldest line. */
  resume(expected: number | null): void {
    this.pause();
    this.online = true;
    this.tries = 0;
    this.retryAt = 0;
    if (this.claimed && expected !== null) this.advance(expected);
    this.plan();
  }

  /** The connection is gone, or about to be announced again: nothing is sent, and old acknowledgements are void. */
  pause(): void {
    this.online = false;
    this.waiting = false;
    this.serial += 1;
    this.plan();
  }

  close(): void {
    this.closed = true;
    this.pause();
    this.wakeWriter();
  }

  private get takesLines(): boolean {
    return !this.closed && this.finish === null;
  }

  private room(): Promise<void> {
    return new Promise((resolve) => {
      this.wakeWriter = resolve;
    });
  }

  /** Sets the one timer for whatever is due next, or does it. */
  private plan(): void {
    this.cancelTimer();
    if (!this.online || this.closed) return;
    const wait = this.due() - this.options.clock.now();
    if (wait <= 0) this.act();
    else this.cancelTimer = this.options.clock.after(wait, () => this.act());
  }

  private due(): number {
    if (this.waiting) return this.sentAt + patience(this.tries);
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

  /** The oldest lines. There are none before the claim is accepted (E3), and at times none later (E8). */
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
      // Lines that this program never sent: the attempt was run before, and must not be paid for twice.
      this.drop();
    }
  }

  private stored(frame: Frame, expected: number): void {
    this.advance(expected);
    // What a stop left behind is wanted no more: the server has ended the run, and takes the end without it (E9).
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
    // Before the claim nothing was started, so nothing is lost. After it only the two above end an attempt (E4).
    return !this.claimed && !retryable;
  }

  private sendFrom(expected: number): void {
    this.advance(expected);
    // At once the first time; a server that only ever says `gap` is not asked without pause.
    if (this.tries > 0) this.sendLater();
    else this.tries = 1;
  }

  private sendLater(): void {
    this.retryAt = this.options.clock.now() + backoff(this.tries);
    this.tries += 1;
  }

  /** All before `expected` is stored. */
  private advance(expected: number): void {
    if (expected < this.lines.base) this.giveUp(expected);
    else this.lines.forget(expected);
    this.wakeWriter();
  }

  /** The server has lost lines that it had acknowledged, and they are not here any more: the answer ends there. */
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
