import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { ConnectionDraft } from "../src/client/contract";
import { Host } from "../src/hosts/host";
import type { MemoryLink } from "../src/link/memory";
import type { Fetch } from "../src/upstream/runner";
import { memoryStore } from "../src/vault/store";
import { Vault } from "../src/vault/vault";
import { FakeClock } from "./kit/clock";
import { canary } from "./kit/secrets";
import { memoryServer, reconnect, type ServerDouble } from "./kit/server";
import { chunk, event, stream, UpstreamDouble } from "./kit/upstream";

const CANARY = "canary-key-that-must-not-leave";
const MODELS = JSON.stringify({ data: [{ id: "model" }, { id: "other" }] });

describe("a host", () => {
  let upstream: UpstreamDouble;
  let clock: FakeClock;
  let server: ServerDouble;
  let link: MemoryLink;
  let host: Host;
  let draft: ConnectionDraft;

  beforeAll(async () => {
    upstream = await UpstreamDouble.start();
  });
  afterAll(() => upstream.stop());

  beforeEach(async () => {
    clock = new FakeClock();
    ({ server, link } = memoryServer());
    upstream.asked.length = 0;
    answering(MODELS, stream("Hello"));
    host = await open();
    draft = { provider: "custom", label: "Box", baseUrl: upstream.url, key: CANARY };
  });

  async function open(fetcher: Fetch = (url, init) => fetch(url, init)): Promise<Host> {
    return new Host({
      vault: await Vault.open(memoryStore(), null, "Test"),
      connect: link.connect,
      clock,
      upstream: { fetch: fetcher, place: { kind: "node", https: false } },
    });
  }

  /** What upstream answers to a listing, and to a chat completion. */
  function answering(models: string, completion: string, status = 200): void {
    upstream.script = (response, { method }) => {
      response.writeHead(status, {
        "Content-Type": method === "GET" ? "application/json" : "text/event-stream",
      });
      response.end(method === "GET" ? models : completion);
    };
  }

  const finished = async (run: ReturnType<ServerDouble["offer"]>) => {
    await vi.waitUntil(async () => {
      await clock.advance(40);
      return run.finish;
    });
    return run;
  };

  it("announces a connection's models after it was saved, and runs one", async () => {
    await host.start();
    const saved = await host.saveConnection(draft);
    expect(saved.models.map((model) => model.id)).toEqual(["model", "other"]);
    expect(host.state()).toMatchObject({
      status: "ready",
      vault: "memory",
      running: 0,
      connections: [{ hasKey: true }],
    });
    expect(server.announcements.at(-1)?.connections[0]).toMatchObject({
      id: saved.id,
      models: [{ id: "model" }, { id: "other" }],
    });
    const run = await finished(server.offer("run", { model: { connection_id: saved.id } }));
    expect(run.lines).toEqual([`data: ${chunk("Hello")}`, `data: ${chunk("", "stop")}`, "data: [DONE]"]);
    expect(run.finish).toEqual({ reason: "stop", error: null });
  });

  it("[S1][E13] the key is in no byte that leaves, though upstream echoes it everywhere", async () => {
    const echo = JSON.stringify({ error: { message: `Incorrect key ${CANARY}`, code: CANARY } });
    answering(
      JSON.stringify({ data: [{ id: `model ${CANARY}`, name: CANARY }] }),
      event(chunk(`Key ${CANARY}`)) + event(echo),
    );
    await host.start();
    const { id } = await host.saveConnection({ ...draft, label: `Box ${CANARY}` });
    await finished(server.offer("echoed", { model: { connection_id: id } }));
    answering(echo, echo, 401);
    await host.refreshConnection(id);
    const refused = await finished(server.offer("refused", { model: { connection_id: id } }));
    expect(refused.finish?.error?.message).toContain("Incorrect key [redacted]");
    server.offer("unknown", { model: { connection_id: CANARY } });
    const keyless = await host.saveConnection({ provider: "openai", label: CANARY, baseUrl: upstream.url });
    server.offer("keyless", { model: { connection_id: keyless.id } });
    expect(server.answers.at(-1)?.error?.message).toContain("[redacted] needs a key");
    await reconnect(server, link);
    const bytes = link.bytes.join("\n");
    expect(bytes).toContain("Key [redacted]");
    expect(bytes).not.toContain(CANARY);
    expect(JSON.stringify(host.state())).not.toContain(CANARY);
    expect(upstream.asked[0]?.headers.authorization).toBe(`Bearer ${CANARY}`);
  });

  it("[E13] a key that is cut into pieces is in no byte that leaves", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    for (let cut = 1; cut < CANARY.length; cut += 3) {
      answering(MODELS, stream(`Key ${CANARY.slice(0, cut)}`, CANARY.slice(cut), "."));
      const { lines, finish } = await finished(server.offer(`cut ${cut}`, { model: { connection_id: id } }));
      expect(finish).toEqual({ reason: "stop", error: null });
      expect(lines).toHaveLength(5);
      expect(lines.join()).toContain("[redacted]");
      expect(lines.join()).not.toContain(CANARY.slice(-6));
      expect(lines.join()).not.toContain(CANARY.slice(0, 6));
    }
  });

  it("[E13] names of models and errors are cleaned before they are cut", async () => {
    const [head, tail] = [CANARY.slice(0, 6), CANARY.slice(-6)];
    await host.start();
    for (let before = 270; before <= 300; before += 3) {
      const name = `${"y".repeat(before)}${CANARY}`;
      answering(JSON.stringify({ data: [{ id: name }, { id: "other", name }] }), "");
      const { id, models } = await host.saveConnection(draft);
      expect(models.map((model) => model.id)).toContain("other");
      expect(models).toHaveLength(before <= 290 ? 2 : 1);
      await host.removeConnection(id);
      expect(JSON.stringify(models)).not.toContain(head);
      answering(JSON.stringify({ error: `${"y".repeat(before + 200)}${CANARY}` }), "", 401);
      expect(JSON.stringify(await host.testConnection(draft))).not.toContain(head);
    }
    const long = { ...draft, label: `${"y".repeat(180)}${CANARY}` };
    await expect(host.saveConnection(long)).rejects.toMatchObject({ failure: { code: "bad_request" } });
    expect(link.bytes.join()).not.toContain(head);
    expect(link.bytes.join()).not.toContain(tail);
  });

  it("[S1][E13] a test tells the page nothing of a key, be it stored or only typed", async () => {
    const typed = canary();
    const echo = (key: string) => JSON.stringify({ data: [{ id: `m ${key}`, name: key }] });
    upstream.script = (response, { headers }) => response.end(echo(headers.authorization?.slice(7) ?? ""));
    const { id } = await host.saveConnection(draft);
    const results = [
      await host.testConnection({ ...draft, key: typed }),
      await host.testConnection({ ...draft, id, key: typed }),
      await host.testConnection({ provider: "custom", label: "", baseUrl: upstream.url, id }),
    ];
    expect(results).toEqual(
      results.map(() => ({ ok: true, models: [expect.objectContaining({ id: "m [redacted]" })] })),
    );
    upstream.sends([JSON.stringify({ error: { message: typed } })], "application/json", 401);
    const refused = await host.testConnection({ ...draft, key: typed });
    expect(refused).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining("said: [redacted]") },
    });
    expect(host.clean(typed)).toBe(typed);
  });

  it("[S1] the path of a base URL is a part of what a key is pinned to", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    const { key: _, ...withoutKey } = draft;
    const echoing = { ...withoutKey, id, baseUrl: upstream.url.replace("/v1", "/echo") };
    const asked = () => upstream.asked.map(({ path, headers }) => [path, headers.authorization ?? null]);
    upstream.asked.length = 0;
    await host.testConnection(echoing);
    expect(asked()).toEqual([["/echo/models", null]]);
    const moved = await host.saveConnection(echoing);
    expect(moved).toMatchObject({ hasKey: false, models: [], error: { code: "key_unavailable" } });
    server.offer("moved", { model: { connection_id: id } });
    expect(server.answers.at(-1)?.error?.code).toBe("key_unavailable");
    await host.refreshConnection(id);
    expect(asked()).toHaveLength(1);
    await host.saveConnection({ ...echoing, key: CANARY });
    expect(asked().at(-1)).toEqual(["/echo/models", `Bearer ${CANARY}`]);
  });

  it("[E13] a key that is replaced while a call goes on with it stays a secret of that call", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    let answer = (_text: string): void => {};
    upstream.script = (response, { method, headers }) => {
      if (method === "GET") response.end(MODELS);
      else answer = () => response.end(JSON.stringify({ error: { message: `No ${headers.authorization}` } }));
    };
    const run = server.offer("run", { model: { connection_id: id } });
    await vi.waitUntil(() => upstream.asked.at(-1)?.method === "POST");
    await host.saveConnection({ ...draft, id, key: canary() });
    answer("");
    await finished(run);
    expect(run.finish?.error?.message).toContain("No Bearer [redacted]");
    expect(link.bytes.join()).not.toContain(CANARY);
  });

  it("[S1] the base URL never leaves", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    answering("{}", "{}", 500);
    await host.refreshConnection(id);
    await finished(server.offer("run", { model: { connection_id: id } }));
    expect(link.bytes.join("\n")).not.toContain("127.0.0.1");
  });

  it("[E1] models that were listed while an announcement was under way are announced as well", async () => {
    const waiting: (() => void)[] = [];
    server.meddle = (event, payload, answer) => {
      waiting.push(() => server.handle(event, payload, answer));
      return true;
    };
    await host.start();
    await host.saveConnection(draft);
    for (const answer of waiting) answer();
    expect(host.state().status).toBe("ready");
    expect(server.announcements.at(-1)?.connections[0]?.models).toHaveLength(2);
  });

  it("keeps the last known models when they cannot be listed, and says why", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    answering("<html>", "", 502);
    const refreshed = await host.refreshConnection(id);
    expect(refreshed.models).toHaveLength(2);
    expect(refreshed.error?.code).toBe("upstream_error");
    expect(server.announcements.at(-1)?.connections[0]?.error?.code).toBe("upstream_error");
  });

  it("offers what the user named, or what the catalog knows, where nothing was ever listed", async () => {
    answering("", "", 404);
    const named = await host.saveConnection({ ...draft, models: ["mine"] });
    expect(named).toMatchObject({ models: [{ id: "mine" }], error: null });
    const known = await host.saveConnection({ ...draft, provider: "deepseek" });
    expect(known.models.map((model) => model.id)).toContain("deepseek-chat");
    expect(known.error?.code).toBe("upstream_error");
  });

  it("tests a draft without storing it, with the stored key if none is given", async () => {
    expect(await host.testConnection(draft)).toMatchObject({
      ok: true,
      models: [{ id: "model" }, { id: "other" }],
    });
    expect(host.state().connections).toEqual([]);
    const { id } = await host.saveConnection(draft);
    const { key: _, ...withoutKey } = draft;
    await host.testConnection({ ...withoutKey, id });
    expect(upstream.asked.at(-1)?.headers.authorization).toBe(`Bearer ${CANARY}`);
    await host.testConnection({ ...withoutKey, id, baseUrl: upstream.url.replace("127.0.0.1", "localhost") });
    expect(upstream.asked.at(-1)?.headers.authorization).toBeUndefined();
    answering("<html>", "");
    expect(await host.testConnection(draft)).toMatchObject({
      ok: false,
      error: { code: "upstream_not_a_stream" },
    });
    expect(await host.testConnection({ ...draft, baseUrl: "box" })).toMatchObject({
      error: { code: "bad_request" },
    });
  });

  it("lists again after an hour, after a failure sooner at first, and not once it is stopped", async () => {
    let listings = 0;
    let status = 200;
    host = await open(async () => {
      listings += 1;
      return new Response(MODELS, { status });
    });
    await host.saveConnection(draft);
    await host.start();
    const listingsAfter = async (minutes: number) => {
      await clock.advance(minutes * 60_000);
      return listings;
    };
    expect(await listingsAfter(59)).toBe(1);
    status = 500;
    expect(await listingsAfter(1)).toBe(2);
    expect(await listingsAfter(1)).toBe(3);
    expect(await listingsAfter(1)).toBe(3);
    expect(await listingsAfter(1)).toBe(4);
    expect(await listingsAfter(3)).toBe(4);
    expect(await listingsAfter(1)).toBe(5);
    await host.stop();
    expect(await listingsAfter(180)).toBe(5);
  });

  it("[E3] refuses a run whose connection it does not have, or whose key is missing", async () => {
    await host.start();
    server.offer("gone", { model: { connection_id: "gone" } });
    const { id } = await host.saveConnection({ provider: "openai", label: "", baseUrl: upstream.url });
    server.offer("keyless", { model: { connection_id: id } });
    expect(server.answers.map((answer) => answer.error?.code)).toEqual([
      "connection_unknown",
      "key_unavailable",
    ]);
    expect(server.answers.every((answer) => answer.error?.retryable)).toBe(true);
  });

  it("[E8] stores and announces the limits of a connection, keeps them, and gives them up", async () => {
    await host.start();
    const announced = () => server.announcements.at(-1)?.connections[0];
    const { id } = await host.saveConnection({ ...draft, firstLineTimeout: 1_800 });
    expect(announced()).toMatchObject({ first_line_timeout: 1_800, idle_timeout: null });
    const renamed = await host.saveConnection({ ...draft, id, label: "Other", idleTimeout: 1 });
    expect(renamed).toMatchObject({ firstLineTimeout: 1_800, idleTimeout: 1 });
    await host.reload();
    expect(host.state().connections[0]).toMatchObject({ firstLineTimeout: 1_800, idleTimeout: 1 });
    await host.saveConnection({ ...draft, id, firstLineTimeout: null, idleTimeout: 86_400 });
    expect(announced()).toMatchObject({ first_line_timeout: null, idle_timeout: 86_400 });
  });

  it.each([0, -1, 0.5, 86_401, Number.NaN, Number.POSITIVE_INFINITY])(
    "refuses a limit of %d seconds with a sentence that names the field",
    async (seconds) => {
      const sentence = "enter 1 to 86400 seconds, or leave it empty.";
      await expect(host.saveConnection({ ...draft, firstLineTimeout: seconds })).rejects.toThrow(
        `Wait for the first word: ${sentence}`,
      );
      expect(await host.testConnection({ ...draft, idleTimeout: seconds })).toMatchObject({
        ok: false,
        error: { code: "bad_request", message: `Wait in mid-answer: ${sentence}` },
      });
      expect(host.state().connections).toEqual([]);
    },
  );

  it("[E8] ends a call whose upstream is silent for longer than the offer allows", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    upstream.script = (response) => void response.write(event(chunk("Hello")));
    const limits = { firstLineTimeout: 180, idleTimeout: 120 };
    const run = server.offer("run", { model: { connection_id: id }, ...limits });
    await vi.waitUntil(async () => {
      await clock.advance(40);
      return run.lines.length === 1;
    });
    await clock.advance(119_000);
    expect(run.finish).toBeNull();
    await clock.advance(2_000);
    expect(run.finish).toMatchObject({ reason: "error", error: { code: "upstream_silent" } });
    expect(run.finish?.error?.message).toMatch(/^Box began .* 120 seconds/);
    await upstream.asked.at(-1)?.left;
  });

  it("renames and removes, and announces both", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    await host.rename("Desk");
    await host.removeConnection(id);
    expect(server.announcements.at(-1)).toMatchObject({ name: "Desk", connections: [] });
    expect(host.state()).toMatchObject({ name: "Desk", connections: [] });
    await expect(host.rename("  ")).rejects.toThrow("Enter a name.");
    await expect(host.refreshConnection(id)).rejects.toThrow();
  });

  it("a connection that moves to another host in mid-run does not move its key", async () => {
    await host.start();
    const { id } = await host.saveConnection(draft);
    const run = server.offer("run", { model: { connection_id: id } });
    const { key: _, ...withoutKey } = draft;
    await host.saveConnection({ ...withoutKey, id, baseUrl: upstream.url.replace("127.0.0.1", "localhost") });
    await finished(run);
    expect(host.state().connections[0]?.error?.code).toBe("key_unavailable");
    expect(upstream.asked.filter(({ headers }) => headers.host?.startsWith("localhost"))).toEqual([]);
  });
});
