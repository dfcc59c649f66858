/** The line that says which device answers. */

import { describe, expect, it } from "vitest";
import type { HostState, ModelChoice } from "../../src/index";
import type { Device } from "../state/models";
import { type StatusInput, describe as say } from "../state/status";
import { run } from "./fixtures";

const host: HostState = {
  executorId: "me",
  name: "Laptop",
  status: "ready",
  error: null,
  vault: "stored",
  running: 0,
  connections: [
    {
      id: "c",
      provider: "openai",
      label: "",
      baseUrl: "",
      hasKey: true,
      models: ["one", "two"].map((id) => ({
        id,
        name: null,
        context_length: null,
        input: null,
        output: null,
      })),
      error: null,
      firstLineTimeout: null,
      idleTimeout: null,
    },
  ],
};
const choice: ModelChoice = {
  id: "openai/one",
  model: "one",
  provider: "openai",
  name: "One",
  online: true,
  executors: ["me"],
};
const device = (id: string, name: string, online: boolean): Device => ({
  id,
  name,
  kind: "browser",
  online,
  connections: [],
  max_runs: 8,
  running: 0,
  last_active_at: "",
});
const idle: StatusInput = {
  line: "connected",
  storeOk: true,
  host,
  loaded: true,
  model: "openai/one",
  choice,
  devices: [device("me", "Laptop", true)],
  run: undefined,
  wanted: false,
};
const text = (change: Partial<StatusInput>): string => say({ ...idle, ...change }).text;
const desktop = device("desk", "Desktop", true);

describe("the status line", () => {
  it("says that this browser is ready, and with how many models", () => {
    expect(text({})).toBe("This browser is ready · 2 models");
  });

  it("names the other device that would answer, or that is waited for", () => {
    expect(text({ devices: [desktop] })).toBe("Runs on Desktop");
    const away = { devices: [{ ...desktop, online: false }], choice: { ...choice, online: false } };
    expect(text(away)).toBe("Waits for Desktop");
  });

  it("says what a run does and where", () => {
    const executor = { id: "desk", name: "Desktop", kind: "browser" } as const;
    expect(text({ run: run("r", "a", { executor }) })).toBe("Running on Desktop");
    expect(text({ run: run("r", "a", { executor: { ...executor, id: "me" } }) })).toBe(
      "Running in this browser",
    );
    expect(text({ run: run("r", "a", { executor, state: "suspended" }) })).toBe(
      "Waiting for Desktop to come back",
    );
    expect(text({ run: run("r", "a", { state: "queued" }) })).toBe("Waiting for a device that has One");
  });

  it("puts the server before everything else", () => {
    expect(text({ line: "offline", run: run("r", "a") })).toBe("Offline: reconnecting");
    expect(text({ line: "offline", wanted: true })).toBe(
      "Your message is sent as soon as the server is back",
    );
  });

  it("says that the server cannot store, whatever runs, and that nothing is lost", () => {
    const away = "The server cannot store at the moment. Nothing is lost: it goes on when it can";
    expect(text({ storeOk: false })).toBe(away);
    expect(say({ ...idle, storeOk: false, run: run("r", "a") })).toEqual({ tone: "bad", text: away });
  });

  it("says that the models are being read, and that a message waits for them", () => {
    const before = { loaded: false, model: null, choice: undefined, devices: [] };
    expect(text(before)).toBe("Loading your models…");
    const waits = "Your message is sent as soon as your models are loaded";
    expect(text({ ...before, wanted: true })).toBe(waits);
    expect(text({ ...before, line: "connecting", wanted: true })).toBe(waits);
  });

  it("says why this browser cannot run models", () => {
    const error = { code: "executor_taken", message: "Taken.", retryable: false };
    expect(text({ host: { ...host, status: "refused", error } })).toBe("Taken.");
    expect(text({ host: { ...host, status: "offline", error } })).toBe("Taken.");
    expect(text({ model: null, choice: undefined })).toBe("No connection yet");
  });
});
