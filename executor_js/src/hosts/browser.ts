/**
 * The executor in a browser's worker, shared or dedicated. Its vault is in IndexedDB, its server at the worker's
 * origin.
 */

import type { ServedHost } from "../client/ports";
import { systemClock } from "../clock";
import { socketIo } from "../link/socketio";
import { browserName, channelName, lockName, type ReadName, readWorkerName, vaultName } from "../names";
import { aesSealer, makeWrappingKey, type Sealer } from "../vault/sealer";
import { indexedDbStore, memoryStore, type VaultStore } from "../vault/store";
import { Vault } from "../vault/vault";
import { Host } from "./host";

/** Makes the host of the user whom the worker's name names. */
export async function openBrowserHost(name: string): Promise<ServedHost> {
  const read = readWorkerName(name);
  const vault = await openVault(read.user);
  const host = new Host({
    vault,
    connect: socketIo({
      url: location.origin,
      userId: Number(read.user),
      client: { name: "keyside-browser", version: read.version },
    }),
    clock: systemClock,
    upstream: {
      fetch: (url, init) => fetch(url, init),
      place: { kind: "browser", https: location.protocol === "https:" },
    },
  });
  return new BrowserHost(host, read).served();
}

async function openVault(user: string): Promise<Vault> {
  const store = await indexedDbStore(vaultName(user)).catch(() => memoryStore());
  return Vault.open(store, await openSealer(store), browserName(navigator.userAgent));
}

/** Null on an origin that is not secure: it has no WebCrypto, so keys stay in memory. */
async function openSealer(store: VaultStore): Promise<Sealer | null> {
  // TypeScript believes that `subtle` is always there.
  const subtle: SubtleCrypto | undefined = crypto.subtle;
  if (!subtle) return null;
  const key = await store.ensure("meta", "wrapping-key", await makeWrappingKey());
  return aesSealer(key as CryptoKey);
}

/** What the workers of one user tell each other: the vault has changed, or a worker waits for the lock. */
type Notice = { readonly what: "changed" } | { readonly what: "waiting"; readonly version: string };

/** Runs one executor for each browser profile: the worker that holds the lock connects, and the others wait (E12). */
class BrowserHost {
  private readonly host: Host;
  private readonly name: ReadName;
  private readonly others: BroadcastChannel;
  /** Whether a page wants the executor to run. It does from its `hello` until the user signs out. */
  private wanted = false;
  /** Whether this worker waits for the lock. */
  private waiting = false;
  /** Whether it finishes its runs in order to hand the lock over. */
  private leaving = false;
  /** How many pages have come and are not known to be gone. */
  private pages = 0;
  /** Gives up the lock; null while another worker holds it. */
  private release: (() => void) | null = null;

  constructor(host: Host, name: ReadName) {
    this.host = host;
    this.name = name;
    this.others = new BroadcastChannel(channelName(name.user));
    this.others.onmessage = ({ data }: MessageEvent<Notice>) => void this.receive(data);
  }

  served(): ServedHost {
    const { host } = this;
    return {
      clean: host.clean,
      hello: (page) => void this.pageOpened(page),
      stop: () => this.stop(),
      state: () => host.state(),
      subscribe: (listener) => host.subscribe(listener),
      unsubscribe: (listener) => host.unsubscribe(listener),
      testConnection: (draft) => host.testConnection(draft),
      saveConnection: (draft) => this.changing(host.saveConnection(draft)),
      removeConnection: (id) => this.changing(host.removeConnection(id)),
      refreshConnection: (id) => this.changing(host.refreshConnection(id)),
      rename: (name) => this.changing(host.rename(name)),
    };
  }

  private async pageOpened(page: string | null): Promise<void> {
    this.pages += 1;
    void this.run();
    if (page === null) return;
    const release = await takeLock(page);
    release();
    await this.pageClosed();
  }

  /**
   * A page is gone. Without any page the executor finishes its runs, while the browser keeps it alive, and takes no
   * new one.
   */
  private async pageClosed(): Promise<void> {
    this.pages -= 1;
    if (this.pages === 0 && this.wanted && this.release && !this.leaving) await this.host.drain();
  }

  /** Starts the executor, once the lock is held. A page that comes later makes a refused executor try again. */
  private async run(): Promise<void> {
    this.wanted = true;
    if (this.leaving || this.waiting) return;
    if (this.release) return this.host.start();
    this.broadcast({ what: "waiting", version: this.name.version });
    await this.wait();
  }

  private async wait(): Promise<void> {
    this.waiting = true;
    this.release = await takeLock(lockName(this.name.user));
    this.waiting = false;
    // The worker that held the lock before may have changed the vault.
    await this.host.reload();
    if (this.wanted) await this.host.start();
    else this.releaseLock();
  }

  private async receive(notice: Notice): Promise<void> {
    if (notice.what === "changed") await this.host.reload();
    else if (this.release && !this.leaving && notice.version !== this.name.version) await this.handOver();
  }

  /** A worker of another build waits. This one finishes its runs, hands the lock over, and waits itself. */
  private async handOver(): Promise<void> {
    this.leaving = true;
    await this.host.drain();
    this.leaving = false;
    this.releaseLock();
    if (this.wanted) await this.wait();
  }

  private async stop(): Promise<void> {
    this.wanted = false;
    await this.host.stop();
    if (!this.wanted) this.releaseLock();
  }

  private releaseLock(): void {
    this.release?.();
    this.release = null;
  }

  /** Makes a change, and tells the other workers of this user to read the vault again. */
  private async changing<T>(change: Promise<T>): Promise<T> {
    const value = await change;
    this.broadcast({ what: "changed" });
    return value;
  }

  private broadcast(notice: Notice): void {
    this.others.postMessage(notice);
  }
}

/** Waits for the lock, and returns a function that gives it up. Without Web Locks (plain http) it does not wait. */
function takeLock(name: string): Promise<() => void> {
  const locks: LockManager | undefined = navigator.locks;
  return new Promise((taken) => {
    const hold = () => new Promise<void>((release) => taken(release));
    void (locks ? locks.request(name, hold) : hold());
  });
}
