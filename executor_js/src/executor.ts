/**
 * The executor: announces itself, takes runs, and hands each to an attempt (E1 to E4, E9, E12).
 *
 * It knows no socket, no fetch and no clock of its own: all come in, so all of it can be tested without them.
 */

import { Attempt, type Job } from "./attempt";
import type { Cancel, Clock } from "./clock";
import { failure, failureOf, isFinalRefusal } from "./failures";
import { backoff, patience } from "./limits";
import { type Connect, readReadyAck, type Transport } from "./link/transport";
import type {
  AbortRequest,
  Answer,
  CompletionRequest,
  Connection,
  ExecutorReady,
  Failure,
  ServerMessage,
  Verdict,
} from "./protocol.gen";

export type ExecutorStatus = "connecting" | "ready" | "offline" | "replaced" | "refused";

export interface ExecutorOptions {
  readonly connect: Connect;
  readonly clock: Clock;
  readonly executorId: string;
  readonly secret: string;
  /** Random, and another one at each start of the program. */
  readonly instance: string;
  readonly maxRuns: number;
  name(): string;
  connections(): readonly Connection[];
  /** Prepares the upstream call and calls nothing yet. Throws a `FailureError` to refuse the run. */
  prepare(request: CompletionRequest): Job;
  changed(): void;
}

export class Executor {
  private readonly options: ExecutorOptions;
  private readonly transport: Transport;
  private readonly attempts = new Set<Attempt>();
  private currentStatus: ExecutorStatus = "offline";
  private currentError: Failure | null = null;
  private connected = false;
  private closing = false;
  private announcing = false;
  private announcement = 0;
  private announceTries = 0;
  private cancelAnnounce: Cancel = () => {};
  /** Refusals in a row at connect. */
  private refusals = 0;
  private cancelReconnect: Cancel = () => {};
  private readonly whenOver = new Set<() => void>();

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.transport = options.connect({
      opened: () => this.opened(),
      closed: () => this.lost("offline", null),
      refused: (error) => this.refused(error),
      received: (message, answer) => this.received(message, answer),
    });
  }

  get status(): ExecutorStatus {
    return this.currentStatus;
  }

  /** Why the server refuses this executor, for good or for the moment. */
  get error(): Failure | null {
    return this.currentError;
  }

  /** Runs in hand. */
  get running(): number {
    return this.attempts.size;
  }

  /** Connects; after a refusal, tries again. While connected it only says that it takes new runs again. */
  start(): void {
    if (this.closing && this.connected) this.announce();
    this.closing = false;
    if (this.connected || this.currentStatus === "connecting" || this.currentStatus === "replaced") return;
    this.cancelReconnect();
    this.become("connecting", null);
    this.transport.open();
  }

  /** Stops the runs in hand, waits at most so long until the server knows, and disconnects. */
  async stop(milliseconds: number): Promise<void> {
    this.closing = true;
    for (const attempt of this.attempts) attempt.abort();
    if (this.currentStatus === "ready") await this.untilOver(milliseconds);
    if (this.closing) this.leave("offline", null);
  }

  /** Takes no new run, and disconnects when those in hand are delivered. */
  async drain(): Promise<void> {
    this.closing = true;
    await this.untilOver(null);
    if (this.closing) this.leave("offline", null);
  }

  /** Tells the server what this executor is and offers now; also after each change of it (E1). */
  announce(): void {
    if (!this.connected) return;
    // Until the acknowledgement says where to go on, no frame goes out: so `expected` is never behind the outbox.
    this.announcing = true;
    for (const attempt of this.attempts) attempt.pause();
    this.announcement += 1;
    const announcement = this.announcement;
    this.announceIn(patience(this.announceTries));
    this.transport.emit("executor:ready", this.ready(), (ack) => {
      if (announcement === this.announcement && this.connected) this.announced(ack);
    });
  }

  private ready(): ExecutorReady {
    const { executorId, secret, instance, maxRuns } = this.options;
    return {
      executor_id: executorId,
      secret,
      instance,
      name: this.options.name(),
      connections: [...this.options.connections()],
      max_runs: maxRuns,
      holds: [...this.attempts].map((attempt) => attempt.hold),
    };
  }

  private opened(): void {
    this.connected = true;
    this.refusals = 0;
    this.announceTries = 0;
    this.become("connecting", null);
    this.announce();
  }

  /** Refused at connect (C2). Only some reasons are final; with any other the executor tries again, for ever. */
  private refused(error: Failure): void {
    if (isFinalRefusal(error)) {
      this.lost("refused", error);
    } else {
      this.lost("offline", error);
      this.cancelReconnect = this.options.clock.after(backoff(this.refusals), () => this.transport.open());
      this.refusals += 1;
    }
  }

  private announceAgain(): void {
    this.announceTries += 1;
    this.announce();
  }

  private announced(value: unknown): void {
    this.cancelAnnounce();
    const ack = readReadyAck(value);
    if (ack.ok) this.resume(ack.runs);
    else this.notAnnounced(ack.error);
  }

  private resume(verdicts: readonly Verdict[]): void {
    this.announceTries = 0;
    this.announcing = false;
    this.become("ready", null);
    for (const attempt of [...this.attempts]) {
      // A run that came in after the announcement has no verdict: it goes on with its claim.
      const verdict = verdicts.find((each) => attempt.is(each));
      if (verdict?.verdict === "drop") attempt.drop();
      else attempt.resume(verdict?.expected ?? null);
    }
  }

  private notAnnounced(error: Failure): void {
    if (isFinalRefusal(error)) {
      this.leave("refused", error);
    } else {
      this.become("connecting", error);
      this.announceIn(backoff(this.announceTries));
    }
  }

  private announceIn(milliseconds: number): void {
    this.cancelAnnounce();
    this.cancelAnnounce = this.options.clock.after(milliseconds, () => this.announceAgain());
  }

  private received(message: ServerMessage, answer: (value: unknown) => void): void {
    if (message.type === "request:chat:completion") answer(this.offered(message.data));
    else if (message.type === "request:chat:abort") this.find(message.data)?.abort();
    else if (message.type === "executor:replaced") this.replaced();
  }

  private offered(request: CompletionRequest): Answer {
    const { run_id, attempt } = request;
    const error = this.find(request) ? null : this.take(request);
    return { status: error === null, run_id, attempt, error };
  }

  /** Null, or why the run is refused. */
  private take(request: CompletionRequest): Failure | null {
    if (this.closing) return failure("executor_closing");
    if (this.attempts.size >= this.options.maxRuns) return failure("executor_busy");
    try {
      this.begin(request, this.options.prepare(request));
      return null;
    } catch (error) {
      return failureOf(error, "executor_refused");
    }
  }

  private begin(request: CompletionRequest, job: Job): void {
    const attempt: Attempt = new Attempt({
      request,
      job,
      clock: this.options.clock,
      send: (channel, frame, answered) => this.transport.emit(channel, frame, answered),
      over: () => this.forget(attempt),
      notReady: () => this.announceLater(),
    });
    this.attempts.add(attempt);
    this.options.changed();
    // The answer to the offer goes first; the claim follows it.
    queueMicrotask(() => this.claim(attempt));
  }

  private claim(attempt: Attempt): void {
    const ready = this.currentStatus === "ready" && !this.announcing;
    if (ready && this.attempts.has(attempt)) attempt.resume(null);
  }

  /** The server has forgotten this executor, or has not finished to learn of it: it is told again, with some patience. */
  private announceLater(): void {
    if (this.announcing) return;
    this.announcing = true;
    this.become("connecting", null);
    for (const attempt of this.attempts) attempt.pause();
    this.announceIn(backoff(this.announceTries));
  }

  private find(wanted: AbortRequest | CompletionRequest): Attempt | undefined {
    return [...this.attempts].find((attempt) => attempt.is(wanted));
  }

  private forget(attempt: Attempt): void {
    this.attempts.delete(attempt);
    if (this.attempts.size === 0) for (const tell of this.whenOver) tell();
    this.options.changed();
  }

  /** A newer instance has taken over (E12): what is in hand can never be delivered, so it must not cost any more. */
  private replaced(): void {
    for (const attempt of [...this.attempts]) attempt.drop();
    this.leave("replaced", null);
  }

  private leave(status: ExecutorStatus, error: Failure | null): void {
    this.transport.close();
    this.lost(status, error);
  }

  private lost(status: ExecutorStatus, error: Failure | null): void {
    this.connected = false;
    this.announcement += 1;
    this.cancelAnnounce();
    this.cancelReconnect();
    for (const attempt of this.attempts) attempt.pause();
    this.become(status, error);
  }

  private become(status: ExecutorStatus, error: Failure | null): void {
    this.currentStatus = status;
    this.currentError = error;
    this.options.changed();
  }

  /** Until no run is in hand any more, or so long at most. */
  private untilOver(milliseconds: number | null): Promise<void> {
    if (this.attempts.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        this.whenOver.delete(done);
        resolve();
      };
      const cancel = milliseconds === null ? () => {} : this.options.clock.after(milliseconds, done);
      this.whenOver.add(done);
    });
  }
}
