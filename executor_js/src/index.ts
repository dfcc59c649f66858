/** Everything that the page and other embedders may import: the page's client, and the parts of an executor. */

export type { Job } from "./attempt";
export { CATALOG, type Provider } from "./catalog.gen";
export type * from "./client/contract";
export { openExecutor } from "./client/open";
export { type Cancel, type Clock, systemClock } from "./clock";
export { ERRORS, type ErrorCode } from "./errors.gen";
export { Executor, type ExecutorOptions, type ExecutorStatus } from "./executor";
export { FailureError, failure } from "./failures";
export { MemoryLink, type Serve } from "./link/memory";
export { Redaction } from "./link/redaction";
export { type SocketOptions, socketIo } from "./link/socketio";
export type { Connect, Handlers, Transport } from "./link/transport";
export type * from "./protocol.gen";
export { isBaseUrl } from "./upstream/base-url";
export { type Call, type Fetch, run, type Upstream } from "./upstream/runner";
