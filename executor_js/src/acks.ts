/** Reads what the server acknowledged; anything that is no acknowledgement counts as a refusal for the moment. */

import { failure, readFailure } from "./failures";
import type { FrameAck, ReadyAck, Refusal } from "./protocol.gen";

export function readFrameAck(value: unknown): FrameAck | Refusal {
  const { ok, expected } = fields(value);
  if (ok === true && isIndex(expected)) return { ok, expected };
  return refusal(value);
}

export function readReadyAck(value: unknown): ReadyAck | Refusal {
  const { ok, runs } = fields(value);
  if (ok === true && Array.isArray(runs)) return value as ReadyAck;
  return refusal(value);
}

function refusal(value: unknown): Refusal {
  const { error, expected } = fields(value);
  const said = readFailure(error) ?? failure("internal", "The server's answer is of no known form.");
  return { ok: false, error: said, expected: isIndex(expected) ? expected : null };
}

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

const fields = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
