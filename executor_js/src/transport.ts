/** What the executor asks of a connection to the server; it knows no socket itself. */

import type { Failure, ServerMessage } from "./protocol.gen";

export interface Handlers {
  /** Connected, for the first time or again. Nothing was sent on this connection yet. */
  opened(): void;
  /** The connection is gone; the transport tries to get it back by itself. */
  closed(): void;
  /** The server does not want this client; the transport does not try again until `open` is called. */
  refused(error: Failure): void;
  /** `answer` is the callback of a server event; calling it on a lost connection does nothing. */
  received(message: ServerMessage, answer: (value: unknown) => void): void;
}

export interface Transport {
  open(): void;
  /** For good, until `open`; no handler is called any more. */
  close(): void;
  /** Sends now or never: on a lost connection nothing is kept and `answered` is never called. */
  emit(event: string, payload: unknown, answered: (ack: unknown) => void): void;
}

export type Connect = (handlers: Handlers) => Transport;
