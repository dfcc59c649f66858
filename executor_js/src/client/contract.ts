/**
 * The contract between a page and its worker: what the page can ask of its executor, and the state that it is shown.
 */

import type { Failure, Model } from "../protocol.gen";

/** A connection as a page sees it. Its key is not in it. */
export interface ConnectionState {
  readonly id: string;
  readonly provider: string;
  readonly label: string;
  readonly baseUrl: string;
  readonly hasKey: boolean;
  readonly models: readonly Model[];
  /** Why it cannot be used, or why its models could not be listed the last time. */
  readonly error: Failure | null;
  /** How long its upstream may take for the first word, in seconds; null means the server's default. */
  readonly firstLineTimeout: number | null;
  /** How long its upstream may be silent in mid-answer, in seconds; null means the server's default. */
  readonly idleTimeout: number | null;
}

/** What a person typed into the connection form. Without `id` a new connection is made. */
export interface ConnectionDraft {
  readonly id?: string;
  readonly provider: string;
  readonly label: string;
  readonly baseUrl: string;
  /** `undefined` keeps the key that is stored; an empty string removes it. */
  readonly key?: string;
  /** Models to offer when the server cannot list its own. */
  readonly models?: readonly string[];
  /** In seconds. `undefined` keeps what is stored; null leaves it to the server. */
  readonly firstLineTimeout?: number | null;
  readonly idleTimeout?: number | null;
}

export type TestResult =
  | { readonly ok: true; readonly models: readonly Model[] }
  | { readonly ok: false; readonly error: Failure };

export interface HostState {
  readonly executorId: string;
  readonly name: string;
  /** `ready`: connected and announced. `replaced`: a newer instance took over. `refused`: it stays away. */
  readonly status: "connecting" | "ready" | "offline" | "replaced" | "refused";
  /** Why the server refuses this executor, for good or for the moment. */
  readonly error: Failure | null;
  /** Where keys are kept: encrypted in this browser, or only in memory because the origin is not secure. */
  readonly vault: "stored" | "memory";
  readonly connections: readonly ConnectionState[];
  /** How many runs the executor has taken and not delivered yet. */
  readonly running: number;
}

export interface ExecutorClient {
  readonly kind: "shared" | "dedicated";
  /** The newest state, or null until the worker has answered. It is the same object until something changes. */
  state(): HostState | null;
  subscribe(listener: () => void): () => void;
  /** Stores the connection, then lists its models. The promise rejects with a `Failure`. */
  saveConnection(draft: ConnectionDraft): Promise<ConnectionState>;
  removeConnection(id: string): Promise<void>;
  /** Lists the draft's models and stores nothing. */
  testConnection(draft: ConnectionDraft): Promise<TestResult>;
  /** Lists the models of a stored connection again. */
  refreshConnection(id: string): Promise<ConnectionState>;
  rename(name: string): Promise<void>;
  /** Ends the runs and the connection of the worker, when the user signs out. */
  stop(): Promise<void>;
}

/** Opens the executor of a page. `userId` says whose vault it uses. */
export type OpenExecutor = (options: {
  readonly userId: number;
  readonly workers: WorkerFactories;
}) => ExecutorClient;

/** Makes the workers. The page does it, because its bundler must see the URL of the worker's script. */
export interface WorkerFactories {
  /** Absent where the browser has no SharedWorker. */
  readonly shared?: (name: string) => { readonly port: MessagePort };
  readonly dedicated: (name: string) => Worker;
}
