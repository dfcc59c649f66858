import { describe, expect, it } from "vitest";
import { connectionsFrom, type Environment } from "../src/hosts/environment";

const only = (environment: Environment) => {
  const [first, ...others] = connectionsFrom(environment);
  expect(others).toEqual([]);
  return first;
};

describe("connections from the environment", () => {
  it("are those whose variable is set", () => {
    expect(connectionsFrom({})).toEqual([]);
    expect(connectionsFrom({ OPENAI_API_KEY: " ", PATH: "/bin" })).toEqual([]);
    expect(
      connectionsFrom({ OPENAI_API_KEY: "canary-1", GROQ_API_KEY: "canary-2" }).map(({ id }) => id),
    ).toEqual(["openai", "groq"]);
  });

  it("a key goes to the catalog's address, or to the one beside it", () => {
    expect(only({ DEEPSEEK_API_KEY: "canary" })).toEqual({
      id: "deepseek",
      draft: { provider: "deepseek", label: "DeepSeek", baseUrl: "https://api.deepseek.com", key: "canary" },
    });
    expect(only({ OPENAI_API_KEY: "canary", OPENAI_BASE_URL: "http://localhost:9/v1" })?.draft).toMatchObject(
      {
        baseUrl: "http://localhost:9/v1",
        key: "canary",
      },
    );
  });

  it("an address may have a key beside it", () => {
    const environment = {
      OPENAI_COMPATIBLE_BASE_URL: "https://box.example/v1",
      OPENAI_COMPATIBLE_API_KEY: "canary",
    };
    expect(only(environment)?.draft).toMatchObject({
      provider: "custom",
      baseUrl: "https://box.example/v1",
      key: "canary",
    });
    expect(only({ LLAMACPP_BASE_URL: "http://localhost:8080/v1" })?.draft.key).toBe("");
  });

  it.each([
    ["127.0.0.1:11434", "http://127.0.0.1:11434/v1"],
    ["0.0.0.0", "http://127.0.0.1:11434/v1"],
    [":8000", "http://localhost:8000/v1"],
    ["box", "http://box:11434/v1"],
    ["http://box:8000", "http://box:8000/v1"],
    ["https://box.example", "https://box.example:443/v1"],
    ["http://box:8000/ollama/v1", "http://box:8000/ollama/v1"],
  ])("OLLAMA_HOST=%s is %s", (value, baseUrl) => {
    expect(only({ OLLAMA_HOST: value })?.draft.baseUrl).toBe(baseUrl);
  });
});
