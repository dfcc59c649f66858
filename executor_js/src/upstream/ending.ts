/** Reads the data of a stream to find out how the answer ended (E7). */

import { failure } from "../failures";
import type { Failure, Finish } from "../protocol.gen";
import { explainError, type Who } from "./explain";

const REASONS: ReadonlyMap<string, Finish["reason"]> = new Map([
  ["stop", "stop"],
  ["length", "length"],
  ["tool_calls", "tool_calls"],
  ["function_call", "tool_calls"],
  ["content_filter", "content_filter"],
]);

export class Ending {
  private readonly who: Who;
  private done = false;
  private reason: string | null = null;
  private error: Failure | null = null;

  constructor(who: Who) {
    this.who = who;
  }

  /** Looks at the data of one event, and at the JSON in it. */
  observe(data: string, chunk: unknown): void {
    if (data.trim() === "[DONE]") this.done = true;
    else this.look(chunk);
  }

  /** Whether the answer is over, so that nothing that follows belongs to it. */
  get reached(): boolean {
    return this.done || this.error !== null;
  }

  finish(): Finish {
    if (this.error) return { reason: "error", error: this.error };
    if (this.reason !== null) return { reason: REASONS.get(this.reason) ?? "stop", error: null };
    if (this.done) return { reason: "stop", error: null };
    return { reason: "truncated", error: failure("upstream_truncated") };
  }

  private look(chunk: unknown): void {
    this.error = explainError(chunk, this.who);
    const reason = finishReason(chunk);
    if (reason === "error") this.error ??= failure("upstream_error");
    else if (reason !== null) this.reason = reason;
  }
}

function finishReason(chunk: unknown): string | null {
  const choices = (chunk as { choices?: unknown } | null | undefined)?.choices;
  if (!Array.isArray(choices)) return null;
  const reason = choices
    .map((choice) => choice?.finish_reason)
    .find((each) => typeof each === "string" && each !== "");
  return typeof reason === "string" ? reason : null;
}
