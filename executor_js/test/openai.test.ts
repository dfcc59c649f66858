import { describe, expect, it } from "vitest";
import { openai } from "../src/dialects/openai";
import { normalizeBaseUrl } from "../src/upstream/base-url";

const TARGET = { provider: "openai", baseUrl: "https://api.example.com/v1", key: "sk-test" };

const body = (provider: string, formData: object): Record<string, unknown> =>
  JSON.parse(openai.chat({ ...TARGET, provider }, "gpt", { ...formData }).body ?? "");

describe("the OpenAI dialect", () => {
  it("sends Authorization and Content-Type, and no other header", () => {
    const { url, method, headers } = openai.chat(TARGET, "gpt", {});
    expect({ url, method }).toEqual({ url: "https://api.example.com/v1/chat/completions", method: "POST" });
    expect(headers).toEqual({ Authorization: "Bearer sk-test", "Content-Type": "application/json" });
    expect(openai.models(TARGET)).toEqual({
      method: "GET",
      url: "https://api.example.com/v1/models",
      headers: { Authorization: "Bearer sk-test" },
    });
  });

  it("sends no Authorization without a key", () => {
    expect(openai.chat({ ...TARGET, key: null }, "gpt", {}).headers).toEqual({
      "Content-Type": "application/json",
    });
    expect(openai.models({ ...TARGET, key: null }).headers).toEqual({});
  });

  it("sets the upstream's model id and leaves the rest as it is", () => {
    const formData = {
      model: "openai/gpt",
      messages: [{ role: "user", content: "x" }],
      top_k: 3,
      odd: { a: null },
    };
    expect(body("openai", formData)).toEqual({ ...formData, model: "gpt" });
  });

  it("asks for usage in a stream, unless the caller decided or the provider refuses", () => {
    expect(body("openai", { stream: true }).stream_options).toEqual({ include_usage: true });
    expect(body("openai", { stream: false }).stream_options).toBeUndefined();
    expect(body("openai", {}).stream_options).toBeUndefined();
    expect(body("mistral", { stream: true }).stream_options).toBeUndefined();
    expect(body("openai", { stream: true, stream_options: { include_usage: false } }).stream_options).toEqual(
      {
        include_usage: false,
      },
    );
  });

  it("reads lists of models in the shapes that there are", () => {
    const ids = (list: unknown) => openai.readModels(list)?.map((model) => model.id);
    expect(
      ids({ object: "list", data: [{ id: "a" }, { id: "b" }, { id: "a" }, { id: "" }, null, {}] }),
    ).toEqual(["a", "b"]);
    expect(ids([{ id: "a" }])).toEqual(["a"]);
    expect(ids(["a", "b"])).toEqual(["a", "b"]);
    expect(ids({ data: [] })).toEqual([]);
    expect(ids({ error: "no" })).toBeUndefined();
    expect(ids("text")).toBeUndefined();
  });

  it("reads names, context lengths and prices per million tokens", () => {
    const models = openai.readModels({
      data: [
        {
          id: "a",
          name: "A",
          context_length: 1000,
          pricing: { prompt: "0.0000015", completion: "0.000006" },
        },
        { id: "b", name: "b", context_window: 8192, pricing: { prompt: "-1" } },
      ],
    });
    expect(models).toEqual([
      { id: "a", name: "A", context_length: 1000, input: 1.5, output: 6 },
      { id: "b", name: null, context_length: 8192, input: null, output: null },
    ]);
  });

  it("makes no chunk of what is no completion", () => {
    expect(openai.toChunk({ status: "ok" })).toBeNull();
  });
});

describe("a base URL", () => {
  it.each([
    ["https://api.example.com/v1/", "https://api.example.com/v1"],
    ["  http://localhost:1234/v1  ", "http://localhost:1234/v1"],
    ["HTTPS://API.Example.com", "https://api.example.com"],
    ["https://h/v1?x=1#y", "https://h/v1"],
  ])("%s is %s", (typed, normalized) => {
    expect(normalizeBaseUrl(typed)).toBe(normalized);
  });

  it.each([
    ["", /Enter a base URL/],
    ["api.example.com/v1", /must begin with https/],
    ["ftp://example.com", /must begin with https/],
    ["https://", /not an address/],
    ["https://user:word@example.com", /in its own field/],
  ])("%s is refused, and the reason said", (typed, words) => {
    expect(() => normalizeBaseUrl(typed)).toThrow(words);
  });
});
