import { describe, expect, it } from "vitest";
import { modelNamed } from "../src/upstream/providers";
import { type ConnectionRecord, choose } from "../src/vault/connection";

const record = (id: string, provider: string, ...models: string[]): ConnectionRecord => ({
  id,
  position: 0,
  provider,
  label: provider,
  baseUrl: "https://api.example.com/v1",
  keyed: false,
  offered: [],
  models: models.map(modelNamed),
  error: null,
  listedAt: 0,
});

const RECORDS = [
  record("r", "openrouter", "openrouter/auto", "deepseek/deepseek-chat"),
  record("d", "deepseek", "deepseek-chat"),
  record("o", "ollama"),
];

const chosen = (records: readonly ConnectionRecord[], id: string, provider: string | null = null) => {
  const { record: found, model } = choose(records, { id, provider, connection_id: null });
  return `${found.id} ${model}`;
};

describe("the connection of a run", () => {
  it("[E2] is the one that is named, with the model as it is", () => {
    expect(choose(RECORDS, { id: "any", provider: null, connection_id: "d" })).toMatchObject({
      record: { id: "d" },
      model: "any",
    });
    expect(() => choose(RECORDS, { id: "deepseek-chat", provider: null, connection_id: "gone" })).toThrow();
  });

  it.each([
    ["deepseek-chat", "d deepseek-chat"],
    ["openrouter/auto", "r openrouter/auto"],
    ["openrouter/openrouter/auto", "r openrouter/auto"],
    // An announced `provider/id` wins over a bare id that looks the same.
    ["deepseek/deepseek-chat", "d deepseek-chat"],
    ["ollama/llama3", "o llama3"],
  ])("[R2] without a name, %s goes to %s", (id, expected) => {
    expect(chosen(RECORDS, id)).toBe(expected);
  });

  it("[R2] is of the provider that is named", () => {
    expect(chosen(RECORDS, "deepseek/deepseek-chat", "openrouter")).toBe("r deepseek/deepseek-chat");
    expect(chosen(RECORDS, "unlisted", "ollama")).toBe("o unlisted");
  });

  it("is the only one, whatever it lists", () => {
    expect(chosen([record("o", "ollama", "other")], "llama3")).toBe("o llama3");
  });

  it("is unknown where nothing fits", () => {
    expect(() => chosen(RECORDS, "gpt-5")).toThrow(
      expect.objectContaining({ failure: expect.objectContaining({ code: "connection_unknown" }) }),
    );
    expect(() => chosen([], "gpt-5")).toThrow();
  });
});
