/** The worker's end of a page's port: the messages that go through it, and how the worker answers them. */

import { failureOf } from "../failures";
import type { Host } from "../hosts/host";
import type { Failure } from "../protocol.gen";
import type { ConnectionDraft, ConnectionState, HostState, TestResult } from "./contract";

/**
 * A request of a page. `hello` is the first: it starts the executor, if it does not run yet. It names the Web Lock
 * that the page holds while it lives, or null where there are no Web Locks.
 */
export type PageRequest =
  | { readonly what: "hello"; readonly page: string | null }
  | { readonly what: "save"; readonly draft: ConnectionDraft }
  | { readonly what: "remove"; readonly id: string }
  | { readonly what: "test"; readonly draft: ConnectionDraft }
  | { readonly what: "refresh"; readonly id: string }
  | { readonly what: "rename"; readonly name: string }
  | { readonly what: "stop" };

export interface Results {
  hello: undefined;
  save: ConnectionState;
  remove: undefined;
  test: TestResult;
  refresh: ConnectionState;
  rename: undefined;
  stop: undefined;
}

export interface PageMessage {
  readonly id: number;
  readonly request: PageRequest;
}

export type WorkerMessage =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly error: Failure }
  | { readonly kind: "state"; readonly state: HostState };

/** A MessagePort, a Worker, or a dedicated worker's own scope. */
export interface Port {
  onmessage: ((event: MessageEvent) => void) | null;
  /** Called when the other end is gone, in browsers that tell. */
  onclose?: ((event: Event) => void) | null;
  postMessage(message: unknown): void;
}

/** Serves the requests that come through a port. `opening` is the host, which may still be in the making. */
export function serve(port: Port, opening: Promise<ServedHost>): void {
  opening.then(
    (host) => watch(port, host),
    () => {},
  );
  port.onmessage = async ({ data }: MessageEvent<PageMessage>) => {
    const message = await reply(data, opening);
    post(port, await opening.catch(() => null), message);
  };
}

/** The only way to a page. Like the server it is told no secret. A host that could not be made knows none. */
function post(port: Port, host: ServedHost | null, message: WorkerMessage): void {
  port.postMessage(host ? host.clean(message) : message);
}

/** A host as its pages see it. */
export type ServedHost = Pick<
  Host,
  | "clean"
  | "state"
  | "subscribe"
  | "unsubscribe"
  | "saveConnection"
  | "removeConnection"
  | "testConnection"
  | "refreshConnection"
  | "rename"
  | "stop"
> & {
  /** A page has come. It holds the Web Lock of this name while it lives. */
  hello(page: string | null): void;
};

/** Tells the page the state after each change. Changes that come together are told once. */
function watch(port: Port, host: ServedHost): void {
  let due = false;
  const tell = () => {
    due = false;
    post(port, host, { kind: "state", state: host.state() });
  };
  const changed = () => {
    if (!due) queueMicrotask(tell);
    due = true;
  };
  host.subscribe(changed);
  port.onclose = () => host.unsubscribe(changed);
  tell();
}

async function reply({ id, request }: PageMessage, opening: Promise<ServedHost>): Promise<WorkerMessage> {
  try {
    return { kind: "answer", id, value: await answer(await opening, request) };
  } catch (error) {
    return { kind: "failure", id, error: failureOf(error, "internal") };
  }
}

function answer(host: ServedHost, request: PageRequest): unknown {
  switch (request.what) {
    case "hello":
      return host.hello(request.page);
    case "save":
      return host.saveConnection(request.draft);
    case "remove":
      return host.removeConnection(request.id);
    case "test":
      return host.testConnection(request.draft);
    case "refresh":
      return host.refreshConnection(request.id);
    case "rename":
      return host.rename(request.name);
    case "stop":
      return host.stop();
  }
}
