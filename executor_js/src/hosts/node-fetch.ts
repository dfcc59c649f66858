/**
 * Node's fetch without its own time limits, so that only the limits of a run decide how long an upstream may be
 * silent.
 */

import type { Fetch } from "../upstream/runner";

/** What Node's fetch sends requests through. */
interface Dispatcher {
  dispatch(options: object, handler: object): boolean;
}

/** Where the versions of Node keep theirs, the newer place first. */
const PLACES = ["undici.globalDispatcher.2", "undici.globalDispatcher.1"].map((name) => Symbol.for(name));

/**
 * By itself Node gives up after 300 seconds without headers or between two pieces of the body, which a large local
 * model can need. A Node that keeps its dispatcher elsewhere keeps that limit.
 */
export const nodeFetch: Fetch = (url, init) => {
  const own = globalDispatcher();
  if (!own) return fetch(url, init);
  const dispatcher: Dispatcher = {
    dispatch: (options, handler) => own.dispatch({ ...options, headersTimeout: 0, bodyTimeout: 0 }, handler),
  };
  return fetch(url, { ...init, dispatcher } as RequestInit);
};

function globalDispatcher(): Dispatcher | undefined {
  // Node makes its dispatcher when something of fetch is used for the first time, and this is such a use.
  if (!globalThis.Response) return undefined;
  const globals = globalThis as unknown as Record<symbol, Dispatcher | undefined>;
  return PLACES.map((place) => globals[place]).find((each) => typeof each?.dispatch === "function");
}
