/**
 * The link to the server as the executor sees it: what it asks of a transport, and how it reads an acknowledgement.
 */

import { failure, readFailure } from "../failures";
import type { Failure, FrameAck, ReadyAck, Refusal, ServerMessage } from "../protocol.gen";

export interface Handlers {
  /** The link is connected, for the first time or again. Nothing was sent on this connection yet. */
  opened(): void;
  /** The connection is gone. The transport tries to get it back by itself. */
  closed(): void;
  /** The server has refused this client. The transport does not try again until `open` is called. */
  refused(error: Failure): void;
  /** `answer` is the callback of a server event; calling it on a lost connection does nothing. */
  received(message: ServerMessage, answer: (value: unknown) => void): void;
}

export interface Transport {
  open(): void;
  /** Disconnects and stays away until `open` is called. No handler is called any more. */
  close(): void;
  /** Sends at once or not at all: on a lost connection nothing is kept, and `answered` is never called. */
  emit(event: string, payload: unknown, answered: (ack: unknown) => void): void;
}

export type Connect = (handlers: Handlers) => Transport;

/** Anything that is not an acknowledgement of a frame counts as a refusal that can be retried. */
export function readFrameAck(value: unknown): FrameAck | Refusal {
  const { ok, expected } = fields(value);
  if (ok === true && isIndex(expected)) return { ok, expected };
  return refusal(value);
}

/** Anything that is not an acknowledgement of an announcement counts as a refusal that can be retried. */
export function readReadyAck(value: unknown): ReadyAck | Refusal {
  const { ok, runs } = fields(value);
  if (ok === true && Array.isArray(runs)) return value as ReadyAck;
  return refusal(value);
}

function refusal(value: unknown): Refusal {
  const { error, expected } = fields(value);
  const reason = readFailure(error) ?? failure("internal", "The server's answer is of no known form.");
  return { ok: false, error: reason, expected: isIndex(expected) ? expected : null };
}

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

const fields = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
