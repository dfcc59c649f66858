/** The interface of a dialect: it translates between OpenAI's chunks and what a provider speaks, and does no I/O. */

import type { Model } from "../protocol.gen";

/** Where to send a request. */
export interface Target {
  /** The provider's id in the catalog. */
  readonly provider: string;
  /** Without a slash at the end. */
  readonly baseUrl: string;
  readonly key: string | null;
}

export interface UpstreamRequest {
  readonly method: "GET" | "POST";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export type Json = Readonly<Record<string, unknown>>;

export interface Dialect {
  /** `model` is the id as the upstream knows it. */
  chat(target: Target, model: string, formData: Json): UpstreamRequest;
  models(target: Target): UpstreamRequest;
  /** The models of the answer to `models`, or null if it is no list. */
  readModels(body: unknown): Model[] | null;
  /** Makes one chunk of a stream out of a whole completion. Null if it is no completion. */
  toChunk(completion: Json): Json | null;
}
