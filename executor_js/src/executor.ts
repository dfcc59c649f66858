/**
 * The executor: it announces itself, takes runs, and makes an attempt of each (E1 to E4, E9, E12).
 *
 * The link, the upstream calls and the clock are given to it, so that it can be tested without a network.
 */

import { Attempt, type Job } from "./attempt";
import type { Cancel, Clock } from "./clock";
import { failure, failureOf, isFinalRefusal } from "./failures";
import { ackTimeout, backoff } from "./limits";
import { guarded, type Redaction } from "./link/redaction";
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
  /** Takes the secrets out of everything that leaves. */
  readonly redaction: Redaction;
  readonly executorId: string;
  readonly secret: string;
  /** A random id, drawn anew at each start of the program. */
  readonly instance: string;
  readonly maxRuns: number;
  name(): string;
  connections(): readonly Connection[];
  /** Prepares the upstream call and calls nothing yet. Throws a `FailureError` to refuse the run. */
  prepare(request: CompletionRequest): Job;
  /** The status, the error or the number of runs has changed. */
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
    this.transport = guarded(
      options.connect,
      options.redaction.clean,
    )({
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

  /** How many runs it has taken and not delivered yet. */
  get running(): number {
    return this.attempts.size;
  }

  /** Connects, also after a refusal. If it is connected but was closing, it takes new runs again. */
  start(): void {
    if (this.closing && this.connected) this.announce();
    this.closing = false;
    if (this.connected || this.currentStatus === "connecting" || this.currentStatus === "replaced") return;
    this.cancelReconnect();
    this.become("connecting", null);
    this.transport.open();
  }

  /** Stops its runs, waits at most so many milliseconds until the server knows, and disconnects. */
  async stop(milliseconds: number): Promise<void> {
    this.closing = true;
    for (const attempt of this.attempts) attempt.abort();
    if (this.currentStatus === "ready") await this.untilOver(milliseconds);
    if (this.closing) this.leave("offline", null);
  }

  /** Takes no new run, and disconnects when those that it has are delivered. */
  async drain(): Promise<void> {
    this.closing = true;
    await this.untilOver(null);
    if (this.closing) this.leave("offline", null);
  }

  /** Tells the server who this executor is and what it offers. It does so again after each change (E1). */
  announce(): void {
    if (!this.connected) return;
    // No frame leaves before the acknowledgement: otherwise its `expected` could be older than what the outbox has
    // forgotten.
    this.announcing = true;
    for (const attempt of this.attempts) attempt.pause();
    this.announcement += 1;
    const announcement = this.announcement;
    this.announceIn(ackTimeout(this.announceTries));
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
      // A run that came after the announcement was sent has no verdict. It goes on with its claim.
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

  /** Takes the run and returns null, or returns why it is refused. */
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
      redaction: this.options.redaction.lines(),
      send: (channel, frame, answered) => this.transport.emit(channel, frame, answered),
      over: () => this.forget(attempt),
      notReady: () => this.announceLater(),
    });
    this.attempts.add(attempt);
    this.options.changed();
    // The claim must follow the answer to the offer, which is sent when this returns.
    queueMicrotask(() => this.claim(attempt));
  }

  private claim(attempt: Attempt): void {
    const ready = this.currentStatus === "ready" && !this.announcing;
    if (ready && this.attempts.has(attempt)) attempt.resume(null);
  }

  /** The server does not know this executor, or not yet. The executor announces itself again after a pause. */
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

  /** A newer instance has taken over (E12). Its runs can no longer be delivered, so their upstream calls end. */
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

  /** Waits until all runs are over, but at most so many milliseconds; null waits without a limit. */
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
