/** The one place that makes the workers in which this browser's executor runs. */

import { useSyncExternalStore } from "react";
import { type ExecutorClient, type HostState, openExecutor, type WorkerFactories } from "../src/index";

/** The build: tabs of two builds never share a worker. */
export const VERSION: string = import.meta.env.VITE_KEYSIDE_VERSION ?? "dev";

/** TypeScript does not know `extendedLifetime` yet: the worker goes on for a while after its last tab. */
type ExtendedOptions = WorkerOptions & { extendedLifetime: boolean };

const shared = (name: string): SharedWorker =>
  new SharedWorker(new URL("../src/hosts/shared-worker.ts", import.meta.url), {
    type: "module",
    name: `${name}@${VERSION}`,
    extendedLifetime: true,
  } as ExtendedOptions);

const dedicated = (name: string): Worker =>
  new Worker(new URL("../src/hosts/worker.ts", import.meta.url), {
    type: "module",
    name: `${name}@${VERSION}`,
  });

let client: ExecutorClient | null = null;

/** Opens the executor of this account, before anything that uses it is shown. */
export function startExecutor(userId: number): void {
  if (client) return;
  const workers: WorkerFactories = "SharedWorker" in window ? { shared, dedicated } : { dedicated };
  client = openExecutor({ userId, workers });
}

/** The executor of this browser. */
export function executor(): ExecutorClient {
  if (!client) throw new Error("The executor was not started.");
  return client;
}

export async function stopExecutor(): Promise<void> {
  const stopping = client;
  client = null;
  await stopping?.stop();
}

export const hostState = (): HostState | null => client?.state() ?? null;

const subscribe = (listener: () => void): (() => void) => client?.subscribe(listener) ?? (() => {});

/** What the executor says of itself, or null before it has answered. */
export const useHost = (): HostState | null => useSyncExternalStore(subscribe, hostState);
