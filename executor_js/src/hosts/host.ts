/** What all hosts have in common: an executor, with the vault and the upstream calls that it works with. */

import type { Job } from "../attempt";
import type { ConnectionDraft, ConnectionState, HostState, TestResult } from "../client/contract";
import type { Cancel, Clock } from "../clock";
import { Executor } from "../executor";
import { failureOf } from "../failures";
import { type Clean, Redaction } from "../link/redaction";
import type { Connect } from "../link/transport";
import { randomId } from "../names";
import type { CompletionRequest, Connection, Model } from "../protocol.gen";
import { dialectOf } from "../upstream/providers";
import { run, type Upstream } from "../upstream/runner";
import { type ConnectionRecord, choose } from "../vault/connection";
import { isStale, listed, listModels, notListed, whoIs } from "../vault/listing";
import type { Vault } from "../vault/vault";
import { announceable } from "./announcement";

export interface HostOptions {
  readonly vault: Vault;
  readonly connect: Connect;
  readonly clock: Clock;
  readonly upstream: Omit<Upstream, "clock">;
  readonly maxRuns?: number;
}

const MAX_RUNS = 8;
/** How often the host looks whether a connection's models must be listed again. */
const RELIST_CHECK = 60_000;
/** How long the first announcement waits until the models are listed. */
const FIRST_LISTING_TIMEOUT = 5_000;
/** How long a stop waits until the server has acknowledged it. */
const STOP_TIMEOUT = 2_000;

const isUnlisted = ({ models, error }: ConnectionRecord): boolean => models.length === 0 && error === null;

export class Host {
  private readonly vault: Vault;
  private readonly clock: Clock;
  private readonly upstream: Upstream;
  private readonly executor: Executor;
  private readonly listeners = new Set<() => void>();
  /** For each connection id: how many listings in a row have failed. */
  private readonly failures = new Map<string, number>();
  private readonly redaction: Redaction;
  private newest: HostState | null = null;
  private started = false;
  private relisting = false;
  private cancelRelist: Cancel = () => {};

  constructor(options: HostOptions) {
    const { vault, connect, clock, upstream } = options;
    this.vault = vault;
    this.clock = clock;
    this.upstream = { ...upstream, clock };
    this.redaction = new Redaction(() => vault.secrets);
    this.executor = new Executor({
      connect,
      clock,
      redaction: this.redaction,
      executorId: vault.identity.executorId,
      secret: vault.identity.secret,
      instance: randomId(),
      maxRuns: options.maxRuns ?? MAX_RUNS,
      name: () => vault.identity.name,
      connections: () =>
        announceable(
          vault.connections.map((record) => this.announced(record)),
          this.clean,
        ),
      prepare: (request) => this.prepare(request),
      changed: () => this.changed(),
    });
  }

  /** Takes the secrets out of whatever leaves this host. */
  readonly clean: Clean = (value) => this.redaction.clean(value);

  /** The state as pages see it. It is the same object until something changes. */
  state(): HostState {
    this.newest ??= this.clean({
      executorId: this.vault.identity.executorId,
      name: this.vault.identity.name,
      status: this.executor.status,
      error: this.executor.error,
      vault: this.vault.kind,
      connections: this.vault.connections.map((record) => this.shown(record)),
      running: this.executor.running,
    });
    return this.newest;
  }

  subscribe(listener: () => void): void {
    this.listeners.add(listener);
  }

  unsubscribe(listener: () => void): void {
    this.listeners.delete(listener);
  }

  /**
   * Connects, and lists the models of all connections that were not listed lately. If some were never listed, the host
   * lists them for a few seconds before it connects: it must not announce a connection without its models.
   */
  async start(): Promise<void> {
    this.started = true;
    const relisted = this.relist();
    if (this.vault.connections.some(isUnlisted)) await this.waitBriefly(relisted);
    if (this.started) this.executor.start();
    await relisted;
  }

  /** Waits until the work is done, but not longer than the first announcement may wait. */
  private waitBriefly(work: Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.clock.after(FIRST_LISTING_TIMEOUT, resolve);
      work.then(resolve, resolve).finally(cancel);
    });
  }

  /** Ends the runs and disconnects, until `start` is called again. */
  async stop(): Promise<void> {
    this.started = false;
    this.cancelRelist();
    await this.executor.stop(STOP_TIMEOUT);
  }

  /** Takes no new run, and disconnects when the others are delivered, until `start` is called again. */
  async drain(): Promise<void> {
    this.started = false;
    this.cancelRelist();
    await this.executor.drain();
  }

  async saveConnection(draft: ConnectionDraft): Promise<ConnectionState> {
    const record = await this.vault.save(draft);
    return this.refreshConnection(record.id);
  }

  async removeConnection(id: string): Promise<void> {
    await this.vault.remove(id);
    this.offersChanged();
  }

  /**
   * Lists the models of a draft and stores nothing. Without a key in the draft, the stored one is used, for its own
   * base URL only.
   */
  async testConnection(draft: ConnectionDraft): Promise<TestResult> {
    try {
      const { record, key } = this.vault.preview(draft);
      return { ok: true, models: await this.modelsOf(record, key) };
    } catch (error) {
      return { ok: false, error: failureOf(error, "upstream_error") };
    }
  }

  async refreshConnection(id: string): Promise<ConnectionState> {
    const record = choose(this.vault.connections, { id: "", provider: null, connection_id: id }).record;
    await this.list(record);
    this.offersChanged();
    return this.clean(this.shown(this.vault.find(id) ?? record));
  }

  async rename(name: string): Promise<void> {
    await this.vault.rename(name);
    this.offersChanged();
  }

  /** Reads the vault again, because another worker of the same user has changed it. */
  async reload(): Promise<void> {
    await this.vault.reload();
    this.offersChanged();
  }

  private async relist(): Promise<void> {
    if (this.relisting) return;
    this.relisting = true;
    const stale = this.vault.connections.filter((record) => this.isStale(record));
    await Promise.all(stale.map((record) => this.list(record)));
    this.relisting = false;
    if (stale.length > 0) this.offersChanged();
    if (this.started) this.relistLater();
  }

  private relistLater(): void {
    this.cancelRelist();
    this.cancelRelist = this.clock.after(RELIST_CHECK, () => void this.relist());
  }

  private isStale(record: ConnectionRecord): boolean {
    const failures = this.failures.get(record.id) ?? (record.error ? 1 : 0);
    return isStale(record, failures, this.clock.now());
  }

  private async list(record: ConnectionRecord): Promise<void> {
    try {
      const models = await this.modelsOf(record, this.keyFor(record));
      this.failures.delete(record.id);
      await this.vault.noteListing(record, listed(record, models, this.clock.now()));
    } catch (error) {
      this.failures.set(record.id, (this.failures.get(record.id) ?? 0) + 1);
      const why = this.clean(failureOf(error, "upstream_error"));
      await this.vault.noteListing(record, notListed(record, why, this.clock.now()));
    }
  }

  /** The key may be one that is not stored. */
  private modelsOf(record: ConnectionRecord, key: string | null): Promise<Model[]> {
    return this.redaction.during(key, () => listModels(record, key, this.upstream, this.clean));
  }

  private keyFor(record: ConnectionRecord): string | null {
    return this.vault.keyFor(record, record.baseUrl);
  }

  /** Makes the upstream call of a run. It throws what can be known to fail before the claim. */
  private prepare(request: CompletionRequest): Job {
    const { record, model } = choose(this.vault.connections, request.model);
    const key = this.keyFor(record);
    const call = {
      target: { provider: record.provider, baseUrl: record.baseUrl, key },
      dialect: dialectOf(record.provider),
      who: whoIs(record, key !== null, model, this.clean),
      model,
      formData: request.form_data,
      // A server that does not know the limits sends none.
      limits: { firstLine: request.first_line_timeout ?? null, idle: request.idle_timeout ?? null },
    };
    // The key can be replaced in the vault while the call goes on with it.
    return (write, signal) => this.redaction.during(key, () => run(call, this.upstream, write, signal));
  }

  private announced(record: ConnectionRecord): Connection {
    const { id, provider, label, models } = record;
    // It is cleaned before it is made to fit, because that may make a text longer.
    return this.clean({
      id,
      provider,
      label,
      models: [...models],
      error: this.errorOf(record),
      first_line_timeout: record.firstLineTimeout ?? null,
      idle_timeout: record.idleTimeout ?? null,
    });
  }

  private shown(record: ConnectionRecord): ConnectionState {
    const { id, provider, label, baseUrl, models } = record;
    return {
      id,
      provider,
      label,
      baseUrl,
      hasKey: this.vault.hasKey(record),
      models,
      error: this.errorOf(record),
      firstLineTimeout: record.firstLineTimeout ?? null,
      idleTimeout: record.idleTimeout ?? null,
    };
  }

  private errorOf(record: ConnectionRecord) {
    return this.vault.keyFailure(record) ?? record.error;
  }

  private offersChanged(): void {
    this.executor.announce();
    this.changed();
  }

  private changed(): void {
    this.newest = null;
    for (const listener of this.listeners) listener();
  }
}
