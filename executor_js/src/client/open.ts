/** The page's end of the worker's port: opens the worker, sends it requests and keeps its newest state. */

import { randomId, workerName } from "../names";
import type { Failure } from "../protocol.gen";
import type {
  ConnectionDraft,
  ConnectionState,
  ExecutorClient,
  HostState,
  OpenExecutor,
  TestResult,
  WorkerFactories,
} from "./contract";
import type { PageRequest, Port, Results, WorkerMessage } from "./ports";

export const openExecutor: OpenExecutor = ({ userId, workers }) => {
  const { kind, port, terminate } = openWorker(workers, workerName(userId));
  return new WorkerClient(kind, port, terminate);
};

interface OpenWorker {
  readonly kind: ExecutorClient["kind"];
  readonly port: Port;
  terminate(): void;
}

function openWorker(workers: WorkerFactories, name: string): OpenWorker {
  if (workers.shared) {
    const { port } = workers.shared(name);
    return { kind: "shared", port, terminate: () => port.close() };
  }
  const worker = workers.dedicated(name);
  return { kind: "dedicated", port: worker, terminate: () => worker.terminate() };
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Failure): void;
}

/** The state that is shown when the worker cannot make an executor. */
const NO_HOST: HostState = {
  executorId: "",
  name: "",
  status: "refused",
  error: null,
  vault: "memory",
  connections: [],
  running: 0,
};

class WorkerClient implements ExecutorClient {
  readonly kind: ExecutorClient["kind"];
  private readonly port: Port;
  private readonly terminate: () => void;
  private readonly waiting = new Map<number, Waiting>();
  private readonly listeners = new Set<() => void>();
  private newest: HostState | null = null;
  private lastId = 0;

  constructor(kind: ExecutorClient["kind"], port: Port, terminate: () => void) {
    this.kind = kind;
    this.port = port;
    this.terminate = terminate;
    port.onmessage = ({ data }: MessageEvent<WorkerMessage>) => this.receive(data);
    void holdLock(`keyside-page-${randomId()}`).then((page) => this.sayHello(page));
  }

  private sayHello(page: string | null): void {
    this.ask({ what: "hello", page }).catch((error: Failure) => this.show({ ...NO_HOST, error }));
  }

  state(): HostState | null {
    return this.newest;
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  saveConnection(draft: ConnectionDraft): Promise<ConnectionState> {
    return this.ask({ what: "save", draft });
  }

  async removeConnection(id: string): Promise<void> {
    await this.ask({ what: "remove", id });
  }

  testConnection(draft: ConnectionDraft): Promise<TestResult> {
    return this.ask({ what: "test", draft });
  }

  refreshConnection(id: string): Promise<ConnectionState> {
    return this.ask({ what: "refresh", id });
  }

  async rename(name: string): Promise<void> {
    await this.ask({ what: "rename", name });
  }

  async stop(): Promise<void> {
    await this.ask({ what: "stop" });
    this.terminate();
  }

  private ask<A extends PageRequest>(request: A): Promise<Results[A["what"]]> {
    this.lastId += 1;
    const id = this.lastId;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: (value) => resolve(value as Results[A["what"]]), reject });
      this.port.postMessage({ id, request });
    });
  }

  private receive(message: WorkerMessage): void {
    if (message.kind === "state") this.show(message.state);
    else this.settle(message);
  }

  private settle(message: Exclude<WorkerMessage, { kind: "state" }>): void {
    const waiting = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.kind === "answer") waiting?.resolve(message.value);
    else waiting?.reject(message.error);
  }

  private show(state: HostState): void {
    this.newest = state;
    for (const listener of this.listeners) listener();
  }
}

/**
 * Holds a Web Lock while this page lives, so that the worker learns when it is gone. Null where there are no Web
 * Locks.
 */
function holdLock(name: string): Promise<string | null> {
  // A page on plain http has none, and Node has none.
  const locks: LockManager | undefined = globalThis.navigator?.locks;
  if (!locks) return Promise.resolve(null);
  return new Promise((held) => {
    const hold = () => {
      held(name);
      return new Promise<never>(() => {});
    };
    void locks.request(name, hold);
  });
}
