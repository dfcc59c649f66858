/** Which model is asked, and how one is found in a long list. */

import { describe, expect, it } from "vitest";
import type { ModelChoice } from "../../src/index";
import { searchModels } from "../composer/model-list";
import { type Device, devicesOf, modelFor, useModels } from "../state/models";

const choice = (provider: string, model: string, online = true): ModelChoice => ({
  id: `${provider}/${model}`,
  model,
  provider,
  name: model,
  online,
  executors: ["me"],
});
const models = [choice("openai", "one", false), choice("groq", "llama"), choice("openai", "two")];
const state = { ...useModels.getState(), models, loaded: true };

describe("the model that is asked", () => {
  it("is the one chosen here, else the chat's, else the last one, else one that can run", () => {
    expect(modelFor({ ...state, chosen: { "1": "openai/two" } }, 1, "groq/llama")).toBe("openai/two");
    expect(modelFor(state, 1, "groq/llama")).toBe("groq/llama");
    expect(modelFor({ ...state, last: "openai/one" }, null, null)).toBe("openai/one");
    expect(modelFor({ ...state, last: "gone/gone" }, null, null)).toBe("groq/llama");
    expect(modelFor({ ...state, models: [] }, null, null)).toBeNull();
  });

  it("is known to the devices that offer it, those that are there first", () => {
    const device = (name: string, online: boolean, model: string): Device => ({
      id: name,
      name,
      kind: "browser",
      online,
      connections: [
        {
          id: "c",
          provider: "groq",
          label: "",
          models: [{ id: model, name: null, context_length: null, input: null, output: null }],
          error: null,
          first_line_timeout: null,
          idle_timeout: null,
        },
      ],
      max_runs: 8,
      running: 0,
      last_active_at: "",
    });
    const executors = [
      device("away", false, "llama"),
      device("here", true, "llama"),
      device("other", true, "x"),
    ];
    expect(devicesOf({ ...state, executors }, models[1]).map((one) => one.name)).toEqual(["here", "away"]);
    expect(devicesOf({ ...state, executors }, undefined)).toEqual([]);
  });

  it("is found by every word of the search, and stands with its provider", () => {
    expect(searchModels(models, "").map((model) => model.id)).toEqual([
      "openai/one",
      "openai/two",
      "groq/llama",
    ]);
    expect(searchModels(models, "OpenAI tw").map((model) => model.id)).toEqual(["openai/two"]);
    expect(searchModels(models, "nothing")).toEqual([]);
  });
});
