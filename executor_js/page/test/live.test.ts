/** What the server tells every socket, as the page keeps it. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Handlers } from "../../src/index";
import { startLive, stopLive, useLive } from "../state/live";

const server = vi.hoisted(() => ({ handlers: null as Handlers | null }));

vi.mock("../../src/index", async (original) => ({
  ...(await original<typeof import("../../src/index")>()),
  socketIo: () => (handlers: Handlers) => {
    server.handlers = handlers;
    return { open: () => {}, close: () => {}, emit: () => {} };
  },
}));

function says(type: "opened" | "closed"): void {
  server.handlers?.[type]();
}

const asked: string[] = [];

const store = (ok: boolean): void => server.handlers?.received({ type: "store", data: { ok } }, () => {});

describe("the store of the server", () => {
  beforeEach(() => {
    asked.length = 0;
    vi.stubGlobal("location", { origin: "http://127.0.0.1:8000" });
    vi.stubGlobal("addEventListener", () => {});
    vi.stubGlobal("removeEventListener", () => {});
    vi.stubGlobal("fetch", (path: string) => {
      asked.push(path);
      return Promise.reject(new TypeError("there is no server"));
    });
    startLive();
    says("opened");
  });
  afterEach(stopLive);

  it("[D4] is away from the moment the server says so until it says that it is back", () => {
    expect(useLive.getState().storeOk).toBe(true);
    store(false);
    expect(useLive.getState()).toMatchObject({ storeOk: false, line: "connected" });
    store(true);
    expect(useLive.getState().storeOk).toBe(true);
  });

  it("[D4] once it is back, lists that could not be read are read again", async () => {
    store(false);
    await vi.waitFor(() => expect(asked).toHaveLength(3));
    asked.length = 0;
    store(false);
    expect(asked).toEqual([]);
    store(true);
    await vi.waitFor(() =>
      expect(asked.map((path) => path.split("?")[0])).toEqual(
        expect.arrayContaining(["/api/chats", "/api/models", "/api/executors"]),
      ),
    );
  });

  it("[D4] is not taken for away on a new connection, whose server says so itself", () => {
    store(false);
    says("closed");
    expect(useLive.getState().storeOk).toBe(false);
    says("opened");
    expect(useLive.getState().storeOk).toBe(true);
  });
});
