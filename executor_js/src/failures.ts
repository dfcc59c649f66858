/** Makes and reads failures: a code of the table, a sentence for a person, and whether a retry can help. */

import { ERRORS, type ErrorCode } from "./errors.gen";
import type { Failure } from "./protocol.gen";

/** Makes the failure of this code. `message` replaces the table's sentence. */
export function failure(code: ErrorCode, message?: string): Failure {
  const { message: standard, retryable } = ERRORS[code];
  return { code, message: message ?? standard, retryable };
}

/** Throws a failure up to the code that can report it. */
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

/** If the server refuses a client with one of these, trying again cannot help. */
const FINAL_REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  "unauthorized",
  "forbidden",
  "bad_origin",
  "protocol_unsupported",
  "executor_taken",
]);

/** Whether a refused client should give up. After any other refusal, also one of an unknown code, it tries again. */
export const isFinalRefusal = ({ code }: Failure): boolean => FINAL_REFUSALS.has(code);

/** Makes a failure of whatever was thrown. `otherwise` is the code of what is no `FailureError`. */
export function failureOf(error: unknown, otherwise: ErrorCode): Failure {
  if (error instanceof FailureError) return error.failure;
  return failure(otherwise, error instanceof Error ? error.message : undefined);
}

/** Checks a value that came from elsewhere, and returns null if it is no failure. */
export function readFailure(value: unknown): Failure | null {
  if (typeof value !== "object" || value === null) return null;
  const { code, message, retryable } = value as Partial<Failure>;
  if (typeof code !== "string") return null;
  return { code, message: typeof message === "string" ? message : code, retryable: retryable === true };
}
