/** The OpenAI chat-completions dialect, which most providers speak: the lines need no translation at all. */

import type { Model } from "../protocol.gen";
import type { Dialect, Json, Target, UpstreamRequest } from "./dialect";

/** They refuse a body with `stream_options`, and send usage without being asked. */
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

/** No other header: several providers refuse browsers that send one (CORS). */
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
    name: typeof name === "string" && name !== id ? name.slice(0, MAX_NAME) : null,
    context_length: contextLength(fields),
    input: pricePerMillion(prices.prompt),
    output: pricePerMillion(prices.completion),
  };
}

/** Every provider has another name for it; the OpenAI API has none. */
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

/** A delta's tool calls are numbered, a message's are not. */
function toDelta(message: Json): Json {
  if (!Array.isArray(message.tool_calls)) return message;
  return { ...message, tool_calls: message.tool_calls.map((call, index) => ({ index, ...call })) };
}

const isJson = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);
