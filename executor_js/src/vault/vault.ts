/**
 * The connections of one user and their keys, each key pinned to the base URL that it was entered for.
 *
 * A key is readable only inside this program: it is stored encrypted, or kept in memory where the origin has no
 * WebCrypto (plain http). Code that asks for a key must name the address to which it would send it.
 */

import type { ConnectionDraft } from "../client/contract";
import { FailureError, fail, failure } from "../failures";
import { randomId } from "../names";
import type { Failure } from "../protocol.gen";
import { originOf } from "../upstream/base-url";
import { providerOf } from "../upstream/providers";
import { type ConnectionRecord, hasMoved, type Listing, readKey, readName, recordFrom } from "./connection";
import type { Sealed, Sealer } from "./sealer";
import type { VaultStore } from "./store";

/** Who this executor is to the server. It is made once for each user and browser profile. */
export interface Identity {
  readonly executorId: string;
  readonly secret: string;
  readonly name: string;
}

/** A key as it is stored: encrypted, with the base URL that it is pinned to. */
interface SealedKey {
  readonly baseUrl: string;
  readonly sealed: Sealed;
}

/**
 * A key that an earlier version stored. It is pinned to an origin, and counts for the base URL that its connection
 * has had since: whoever changes that stores the key anew, or drops it.
 */
interface KeyOfOrigin {
  readonly origin: string;
  readonly sealed: Sealed;
}

interface PlainKey {
  readonly baseUrl: string;
  readonly text: string;
}

export interface Preview {
  readonly record: ConnectionRecord;
  readonly key: string | null;
}

export class Vault {
  /** With `memory`, the keys are gone when this program ends. */
  readonly kind: "stored" | "memory";
  private readonly store: VaultStore;
  private readonly sealer: Sealer | null;
  private who: Identity;
  private records = new Map<string, ConnectionRecord>();
  private keys = new Map<string, PlainKey>();
  private plainSecrets: readonly string[] = [];

  private constructor(store: VaultStore, sealer: Sealer | null, who: Identity) {
    this.kind = sealer ? "stored" : "memory";
    this.store = store;
    this.sealer = sealer;
    this.who = who;
  }

  /** `name` is the executor's name until its user changes it. */
  static async open(store: VaultStore, sealer: Sealer | null, name: string): Promise<Vault> {
    const fresh: Identity = { executorId: randomId(), secret: randomId(32), name };
    const identity = (await store.ensure("meta", "identity", fresh)) as Identity;
    const vault = new Vault(store, sealer, identity);
    await vault.reload();
    return vault;
  }

  get identity(): Identity {
    return this.who;
  }

  /** In the order in which they were made. */
  get connections(): readonly ConnectionRecord[] {
    return [...this.records.values()].sort((a, b) => a.position - b.position);
  }

  /**
   * Every key as plain text, so that it can be removed from whatever leaves. The same array until something changes.
   */
  get secrets(): readonly string[] {
    return this.plainSecrets;
  }

  find(id: string): ConnectionRecord | undefined {
    return this.records.get(id);
  }

  hasKey(record: ConnectionRecord): boolean {
    return this.keys.get(record.id)?.baseUrl === record.baseUrl;
  }

  /**
   * The key to send to this base URL, or null if the connection has none. Throws `key_unavailable` if the key is
   * pinned elsewhere.
   */
  keyFor(record: ConnectionRecord, baseUrl: string): string | null {
    const key = this.keys.get(record.id);
    if (key && key.baseUrl === baseUrl) return key.text;
    const missing = this.keyFailure(record);
    if (key || missing) throw new FailureError(missing ?? failure("key_unavailable"));
    return null;
  }

  /** Why the connection cannot be used: its key is missing. Null if it has one or needs none. */
  keyFailure(record: ConnectionRecord): Failure | null {
    if (this.hasKey(record)) return null;
    if (record.keyed) {
      return failure("key_unavailable", `The key for ${record.label} is not there any more. Enter it again.`);
    }
    if (providerOf(record.provider)?.key !== "required") return null;
    return failure("key_unavailable", `${record.label} needs a key. Enter one.`);
  }

  /** What `save` would store, and the key that it would have. Throws a `FailureError`. */
  preview(draft: ConnectionDraft, freshId = randomId()): Preview {
    const before = draft.id === undefined ? undefined : this.records.get(draft.id);
    if (draft.id !== undefined && !before) fail("connection_unknown");
    const record = recordFrom(draft, before, { id: freshId, position: this.nextPosition() });
    return { record, key: draft.key === undefined ? this.keptKey(before, record) : readKey(draft.key) };
  }

  /** Throws a `FailureError` if the draft cannot be stored. `freshId` becomes the id of a new connection. */
  async save(draft: ConnectionDraft, freshId?: string): Promise<ConnectionRecord> {
    const { record, key } = this.preview(draft, freshId);
    await this.putKey(record, key);
    await this.putRecord(record);
    return record;
  }

  /** Stores a connection's models, unless its address has changed since they were asked for. */
  async noteListing(asked: ConnectionRecord, listing: Listing): Promise<void> {
    const record = this.records.get(asked.id);
    if (record?.baseUrl !== asked.baseUrl) return;
    await this.putRecord({ ...record, ...listing });
  }

  async remove(id: string): Promise<void> {
    await this.store.remove("keys", id);
    await this.store.remove("connections", id);
    this.keys.delete(id);
    this.records.delete(id);
    this.listSecrets();
  }

  async rename(name: string): Promise<void> {
    const trimmed = readName(name);
    if (trimmed === "") fail("bad_request", "Enter a name.");
    this.who = { ...this.who, name: trimmed };
    await this.store.put("meta", "identity", this.who);
  }

  /** Reads everything again, because another worker of the same user may have changed it. */
  async reload(): Promise<void> {
    const meta = await this.store.all("meta");
    this.who = (meta.get("identity") as Identity | undefined) ?? this.who;
    this.records = (await this.store.all("connections")) as Map<string, ConnectionRecord>;
    if (this.sealer) this.keys = await this.openKeys(this.sealer);
    this.listSecrets();
  }

  /** The stored key of a connection, unless the connection moves to another address. */
  private keptKey(before: ConnectionRecord | undefined, after: ConnectionRecord): string | null {
    const key = before && !hasMoved(before, after.baseUrl) ? this.keys.get(before.id) : undefined;
    return key?.baseUrl === after.baseUrl ? key.text : null;
  }

  private nextPosition(): number {
    return Math.max(0, ...this.connections.map((each) => each.position + 1));
  }

  private async openKeys(sealer: Sealer): Promise<Map<string, PlainKey>> {
    const opened = new Map<string, PlainKey>();
    for (const [id, value] of await this.store.all("keys")) {
      const row = value as SealedKey | KeyOfOrigin;
      const [pin, baseUrl] =
        "baseUrl" in row ? [row.baseUrl, row.baseUrl] : [row.origin, this.urlAt(row, id)];
      // A key that cannot be decrypted any more counts as missing, and its connection says so.
      const text = await sealer.open(row.sealed, contextOf(id, pin)).catch(() => null);
      if (text !== null && baseUrl !== undefined) opened.set(id, { baseUrl, text });
    }
    return opened;
  }

  /** The base URL of a connection, if it is at the origin of its key. */
  private urlAt({ origin }: KeyOfOrigin, id: string): string | undefined {
    const url = this.records.get(id)?.baseUrl;
    return url !== undefined && originOf(url) === origin ? url : undefined;
  }

  private async putKey({ id, baseUrl }: ConnectionRecord, text: string | null): Promise<void> {
    if (text === null) {
      await this.store.remove("keys", id);
      this.keys.delete(id);
    } else {
      if (this.sealer) {
        const sealed = await this.sealer.seal(text, contextOf(id, baseUrl));
        await this.store.put("keys", id, { baseUrl, sealed } satisfies SealedKey);
      }
      this.keys.set(id, { baseUrl, text });
    }
    this.listSecrets();
  }

  private async putRecord(record: ConnectionRecord): Promise<void> {
    await this.store.put("connections", record.id, record);
    this.records.set(record.id, record);
  }

  private listSecrets(): void {
    this.plainSecrets = [...this.keys.values()].map((key) => key.text);
  }
}

/** Binds a ciphertext to its connection and to what it is pinned to, so that it cannot be opened from another row. */
const contextOf = (id: string, pin: string): string => `keyside key ${id} ${pin}`;
