/** What goes through a port between a page and its worker: questions, answers, and the state after each change. */

import { failureOf } from "../failures";
import type { Host } from "../hosts/host";
import type { Failure } from "../protocol.gen";
import type { ConnectionDraft, ConnectionState, HostState, TestResult } from "./contract";

/**
 * What a page asks for. `hello` comes first: it starts the executor, if it does not run, and asks for the state. It
 * names the Web Lock that the page holds for as long as it lives; null where there are no Web Locks.
 */
export type Ask =
  | { readonly what: "hello"; readonly page: string | null }
  | { readonly what: "save"; readonly draft: ConnectionDraft }
  | { readonly what: "remove"; readonly id: string }
  | { readonly what: "test"; readonly draft: ConnectionDraft }
  | { readonly what: "refresh"; readonly id: string }
  | { readonly what: "rename"; readonly name: string }
  | { readonly what: "stop" };

export interface Answers {
  hello: undefined;
  save: ConnectionState;
  remove: undefined;
  test: TestResult;
  refresh: ConnectionState;
  rename: undefined;
  stop: undefined;
}

export interface Question {
  readonly id: number;
  readonly ask: Ask;
}

export type Said =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly error: Failure }
  | { readonly kind: "state"; readonly state: HostState };

/** A MessagePort, a Worker, or a dedicated worker's own scope. */
export interface Port {
  onmessage: ((event: MessageEvent) => void) | null;
  /** Called where a browser tells that the other end is gone. */
  onclose?: ((event: Event) => void) | null;
  postMessage(message: unknown): void;
}

/** The worker's end of a page's port. `opening` is the host that is still being made. */
export function serve(port: Port, opening: Promise<ServedHost>): void {
  opening.then(
    (host) => watch(port, host),
    () => {},
  );
  port.onmessage = async ({ data }: MessageEvent<Question>) => {
    port.postMessage(await reply(data, opening));
  };
}

/** A host as its pages see it. */
export type ServedHost = Pick<
  Host,
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
  /** A page has come; it holds that Web Lock while it lives. */
  hello(page: string | null): void;
};

/** Tells the page every state, but several changes at once only once. */
function watch(port: Port, host: ServedHost): void {
  let due = false;
  const tell = () => {
    due = false;
    port.postMessage({ kind: "state", state: host.state() } satisfies Said);
  };
  const changed = () => {
    if (!due) queueMicrotask(tell);
    due = true;
  };
  host.subscribe(changed);
  port.onclose = () => host.unsubscribe(changed);
  tell();
}

async function reply({ id, ask }: Question, opening: Promise<ServedHost>): Promise<Said> {
  try {
    return { kind: "answer", id, value: await answer(await opening, ask) };
  } catch (error) {
    return { kind: "failure", id, error: failureOf(error, "internal") };
  }
}

function answer(host: ServedHost, ask: Ask): unknown {
  switch (ask.what) {
    case "hello":
      return host.hello(ask.page);
    case "save":
      return host.saveConnection(ask.draft);
    case "remove":
      return host.removeConnection(ask.id);
    case "test":
      return host.testConnection(ask.draft);
    case "refresh":
      return host.refreshConnection(ask.id);
    case "rename":
      return host.rename(ask.name);
    case "stop":
      return host.stop();
  }
}
