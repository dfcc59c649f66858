/** Failures: a code of the table, a sentence for a person, and whether to try again. */

import { ERRORS, type ErrorCode } from "./errors.gen";
import type { Failure } from "./protocol.gen";

/** The row of the table; `message` replaces its sentence where more can be said. */
export function failure(code: ErrorCode, message?: string): Failure {
  const { message: standard, retryable } = ERRORS[code];
  return { code, message: message ?? standard, retryable };
}

/** Carries a failure to whoever can tell it. */
export class FailureError extends Error {
  readonly failure: Failure;

  constructor(cause: Failure) {
    super(cause.message);
    this.name = "FailureError";
    this.failure = cause;
  }
}

export function fail(code: ErrorCode, message?: string): never {
  throw new FailureError(failure(code, message));
}

/** A server that refuses a client with one of these does not take it later either. */
const FINAL_REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  "unauthorized",
  "forbidden",
  "bad_origin",
  "protocol_unsupported",
  "executor_taken",
]);

/** Whether a refused client should stay away. Any other refusal, also one of an unknown code, may pass. */
export const isFinalRefusal = ({ code }: Failure): boolean => FINAL_REFUSALS.has(code);

/** Whatever was thrown, as a failure. */
export function failureOf(error: unknown, otherwise: ErrorCode): Failure {
  if (error instanceof FailureError) return error.failure;
  return failure(otherwise, error instanceof Error ? error.message : undefined);
}

/** A failure that came from elsewhere, checked; null if it is none. */
export function readFailure(value: unknown): Failure | null {
  if (typeof value !== "object" || value === null) return null;
  const { code, message, retryable } = value as Partial<Failure>;
  if (typeof code !== "string") return null;
  return { code, message: typeof message === "string" ? message : code, retryable: retryable === true };
}
