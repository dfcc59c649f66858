import { describe, expect, it } from "vitest";
import type { ConnectionDraft, ConnectionState, HostState, TestResult } from "../src/client/contract";
import { openExecutor } from "../src/client/open";
import { type Port, type ServedHost, serve } from "../src/client/ports";
import { FailureError, failure } from "../src/failures";
import { Redaction } from "../src/link/redaction";
import { browserName, readWorkerName, vaultName, workerName } from "../src/names";
import { settle } from "./kit/clock";

const STATE: HostState = {
  executorId: "executor",
  name: "Test",
  status: "ready",
  error: null,
  vault: "stored",
  connections: [],
  running: 0,
};

const CANARY = "canary-key-of-the-worker";
const DRAFT: ConnectionDraft = { provider: "custom", label: "Box", baseUrl: "https://box.example/v1" };

class FakeHost implements ServedHost {
  readonly clean = new Redaction(() => [CANARY]).clean;
  readonly asked: string[] = [];
  current = STATE;
  private readonly listeners = new Set<() => void>();

  hello(): void {
    this.asked.push("hello");
  }
  state(): HostState {
    return this.current;
  }
  subscribe(listener: () => void): void {
    this.listeners.add(listener);
  }
  unsubscribe(listener: () => void): void {
    this.listeners.delete(listener);
  }
  get listening(): number {
    return this.listeners.size;
  }
  change(status: HostState["status"]): void {
    this.current = { ...this.current, status };
    for (const listener of this.listeners) listener();
  }
  async saveConnection(draft: ConnectionDraft): Promise<ConnectionState> {
    if (draft.baseUrl === "") throw new FailureError(failure("bad_request", "Enter a base URL."));
    return this.shown(draft.label);
  }
  async removeConnection(id: string): Promise<void> {
    this.asked.push(`remove ${id}`);
  }
  async testConnection(): Promise<TestResult> {
    return { ok: false, error: failure("upstream_unreachable") };
  }
  async refreshConnection(id: string): Promise<ConnectionState> {
    return this.shown(id);
  }
  async rename(name: string): Promise<void> {
    this.asked.push(`rename ${name}`);
  }
  async stop(): Promise<void> {
    this.asked.push("stop");
  }
  private shown(label: string): ConnectionState {
    return {
      id: "c",
      provider: "custom",
      label,
      baseUrl: "",
      hasKey: false,
      models: [],
      error: null,
      firstLineTimeout: null,
      idleTimeout: null,
    };
  }
}

/** A page and a worker, joined by a real MessageChannel. */
function joined(opening: (host: FakeHost) => Promise<ServedHost> = async (host) => host) {
  const host = new FakeHost();
  const names: string[] = [];
  const { port1, port2 } = new MessageChannel();
  serve(port2, opening(host));
  const client = openExecutor({
    userId: 7,
    workers: {
      shared: (name) => {
        names.push(name);
        return { port: port1 };
      },
      dedicated: () => {
        throw new Error("There is a SharedWorker.");
      },
    },
  });
  const port: Port = port2;
  const gone = () => port.onclose?.(new Event("close"));
  return { host, client, names, gone, close: () => port1.close() };
}

describe("a page and its worker", () => {
  it("says hello, and shows the state as soon as there is one", async () => {
    const { host, client, names, close } = joined();
    expect(client.kind).toBe("shared");
    expect(client.state()).toBeNull();
    await expect.poll(() => client.state()).toEqual(STATE);
    expect(client.state()).toBe(client.state());
    expect(host.asked).toEqual(["hello"]);
    expect(names).toEqual(["keyside-7"]);
    close();
  });

  it("hears of changes, several at once only once, until it unsubscribes", async () => {
    const { host, client, close } = joined();
    await expect.poll(() => client.state()).toEqual(STATE);
    let heard = 0;
    const unsubscribe = client.subscribe(() => {
      heard += 1;
    });
    host.change("offline");
    host.change("connecting");
    await expect.poll(() => client.state()?.status).toBe("connecting");
    expect(heard).toBe(1);
    unsubscribe();
    host.change("ready");
    await expect.poll(() => client.state()?.status).toBe("ready");
    expect(heard).toBe(1);
    close();
  });

  it("carries every question and its answer", async () => {
    const { host, client, close } = joined();
    expect((await client.saveConnection(DRAFT)).label).toBe("Box");
    expect((await client.refreshConnection("c")).label).toBe("c");
    expect(await client.testConnection(DRAFT)).toMatchObject({
      ok: false,
      error: { code: "upstream_unreachable" },
    });
    await client.rename("Desk");
    await client.removeConnection("c");
    expect(host.asked).toEqual(["hello", "rename Desk", "remove c"]);
    close();
  });

  it("[S1] tells the page no secret: not in an answer, a failure or the state", async () => {
    const { host, client, close } = joined();
    expect((await client.saveConnection({ ...DRAFT, label: `Box ${CANARY}` })).label).toBe("Box [redacted]");
    host.testConnection = async () => ({ ok: false, error: failure("upstream_error", `It said: ${CANARY}`) });
    expect(await client.testConnection(DRAFT)).toMatchObject({ error: { message: "It said: [redacted]" } });
    host.rename = async (name) => {
      throw new Error(`${name} ${CANARY}`);
    };
    await expect(client.rename("x")).rejects.toMatchObject({ message: "x [redacted]" });
    host.current = { ...STATE, name: CANARY };
    host.change("offline");
    await expect.poll(() => client.state()?.name).toBe("[redacted]");
    close();
  });

  it("rejects with the failure itself", async () => {
    const { client, close } = joined();
    await expect(client.saveConnection({ ...DRAFT, baseUrl: "" })).rejects.toEqual(
      failure("bad_request", "Enter a base URL."),
    );
    close();
  });

  it("a host that could not be made is said to whoever asks", async () => {
    const { client, close } = joined(() => Promise.reject(new Error("no database")));
    await expect(client.rename("x")).rejects.toMatchObject({ message: "no database" });
    await expect
      .poll(() => client.state())
      .toMatchObject({ status: "refused", error: { message: "no database" } });
    close();
  });

  it("a question that comes before the host is there is answered afterwards", async () => {
    let ready: (host: ServedHost) => void = () => {};
    const { host, client, close } = joined(() => new Promise((resolve) => (ready = resolve)));
    const saving = client.saveConnection(DRAFT);
    await settle();
    ready(host);
    expect((await saving).label).toBe("Box");
    close();
  });

  it("forgets a page that has gone", async () => {
    const { host, client, gone, close } = joined();
    await expect.poll(() => client.state()).toEqual(STATE);
    expect(host.listening).toBe(1);
    gone();
    expect(host.listening).toBe(0);
    close();
  });

  it("stops the worker", async () => {
    const { host, client } = joined();
    await client.stop();
    expect(host.asked).toContain("stop");
  });
});

describe("names", () => {
  it("a worker knows its user and its build from its name", () => {
    expect(readWorkerName(`${workerName(12)}@1.2.3`)).toEqual({ user: "12", version: "1.2.3" });
    expect(readWorkerName(workerName(12))).toEqual({ user: "12", version: "dev" });
    expect(vaultName("1")).not.toBe(vaultName("2"));
  });

  it.each([
    [
      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
      "Chrome on Linux",
    ],
    ["Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"],
    ["Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18 Safari/605.1.15", "Safari on Mac"],
    ["Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0", "Firefox on Android"],
    ["something else", "Browser"],
  ])("%s is %s", (agent, name) => {
    expect(browserName(agent)).toBe(name);
  });
});
