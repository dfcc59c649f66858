/** What an embedder needs: the page's client, and the parts to build an executor of one's own. */

export type { Job } from "./attempt";
export { CATALOG, type Provider } from "./catalog.gen";
export type * from "./client";
export { type Cancel, type Clock, systemClock } from "./clock";
export { ERRORS, type ErrorCode } from "./errors.gen";
export { Executor, type ExecutorOptions, type ExecutorStatus } from "./executor";
export { FailureError, failure } from "./failures";
export { guarded } from "./guard";
export { MemoryLink, type Serve } from "./memory";
export { openExecutor } from "./open";
export type * from "./protocol.gen";
export { cleaner } from "./redaction";
export { type Call, type Fetch, run, type Upstream } from "./runner";
export type { Connect, Handlers, Transport } from "./transport";
