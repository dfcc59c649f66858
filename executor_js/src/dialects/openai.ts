/** The dialect of OpenAI's chat completions, which most providers speak. Its lines need no translation. */

import type { Model } from "../protocol.gen";
import type { Dialect, Json, Target, UpstreamRequest } from "./dialect";

/** Providers that refuse a body with `stream_options`, and send the usage without it. */
const WITHOUT_STREAM_OPTIONS: ReadonlySet<string> = new Set(["mistral"]);

const MAX_MODELS = 5000;
const MAX_NAME = 300;
const PER_MILLION = 1_000_000;

export const openai: Dialect = { chat, models, readModels, toChunk };

function chat(target: Target, model: string, formData: Json): UpstreamRequest {
  const body: Record<string, unknown> = { ...formData, model };
  const wantsUsage = body.stream === true && body.stream_options === undefined;
  if (wantsUsage && !WITHOUT_STREAM_OPTIONS.has(target.provider)) {
    body.stream_options = { include_usage: true };
  }
  return {
    method: "POST",
    url: `${target.baseUrl}/chat/completions`,
    headers: { ...authorization(target), "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
}

function models(target: Target): UpstreamRequest {
  return { method: "GET", url: `${target.baseUrl}/models`, headers: authorization(target) };
}

/** No header is added to these: several providers refuse browsers that send another one (CORS). */
const authorization = ({ key }: Target): Record<string, string> =>
  key ? { Authorization: `Bearer ${key}` } : {};

function readModels(body: unknown): Model[] | null {
  const list = Array.isArray(body) ? body : isJson(body) ? (body.data ?? body.models) : null;
  if (!Array.isArray(list)) return null;
  const known = new Map<string, Model>();
  for (const item of list) {
    const model = readModel(item);
    if (model && !known.has(model.id)) known.set(model.id, model);
  }
  return [...known.values()].slice(0, MAX_MODELS);
}

function readModel(item: unknown): Model | null {
  const fields: Json = isJson(item) ? item : { id: item };
  const { id, name, pricing } = fields;
  if (typeof id !== "string" || id === "" || id.length > MAX_NAME) return null;
  const prices = isJson(pricing) ? pricing : {};
  return {
    id,
    name: typeof name === "string" && name !== id && name.length <= MAX_NAME ? name : null,
    context_length: contextLength(fields),
    input: pricePerMillion(prices.prompt),
    output: pricePerMillion(prices.completion),
  };
}

/** Each provider calls it something else, and the OpenAI API does not tell it. */
function contextLength(fields: Json): number | null {
  const names = ["context_length", "context_window", "max_context_length", "max_model_len"];
  const value = names.map((name) => fields[name]).find((each) => typeof each === "number" && each > 0);
  return typeof value === "number" ? Math.trunc(value) : null;
}

/** OpenRouter writes dollars per token as a string, and a negative one where the price varies. */
function pricePerMillion(price: unknown): number | null {
  const dollars = typeof price === "string" && price !== "" ? Number(price) : price;
  if (typeof dollars !== "number" || !Number.isFinite(dollars) || dollars < 0) return null;
  return Math.round(dollars * PER_MILLION * 1e6) / 1e6;
}

function toChunk(completion: Json): Json | null {
  if (!Array.isArray(completion.choices)) return null;
  const choices = completion.choices.filter(isJson).map(({ message, ...choice }) => ({
    ...choice,
    delta: isJson(message) ? toDelta(message) : {},
  }));
  return { ...completion, object: "chat.completion.chunk", choices };
}

/** Numbers the tool calls: those of a delta have an index, and those of a message have none. */
function toDelta(message: Json): Json {
  if (!Array.isArray(message.tool_calls)) return message;
  return { ...message, tool_calls: message.tool_calls.map((call, index) => ({ index, ...call })) };
}

const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
