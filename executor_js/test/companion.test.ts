import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Server, type Socket } from "socket.io";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { failure } from "../src/failures";
import { openCompanion } from "../src/hosts/companion";
import type { Host } from "../src/hosts/host";
import { socketIo } from "../src/link/socketio";
import { ServerDouble } from "./kit/server";
import { chunk, event, stream, UpstreamDouble } from "./kit/upstream";

const CANARY = "canary-key-that-must-not-leave";
const TOKEN = "canary-token-of-the-companion";
const IDENTITY = { executorId: "companion", secret: "canary-secret-of-the-companion", name: "Box" };

/** The scripted server behind a real Socket.IO server. */
class SocketServer {
  readonly double = new ServerDouble();
  readonly auths: unknown[] = [];
  readonly transports: string[] = [];
  /** What whoever connects is refused with; null lets everybody in. */
  refusal: string | null = null;
  /** Who comes waits for it. */
  door = Promise.resolve();
  knocks = 0;
  private readonly http: HttpServer = createServer();
  private readonly io: Server;
  private socket: Socket | null = null;

  constructor() {
    this.io = new Server(this.http, { path: "/ws/socket.io" });
    this.io.use(async (_socket, next) => {
      this.knocks += 1;
      await this.door;
      next(this.refusal === null ? undefined : new Error(this.refusal));
    });
    this.io.on("connection", (socket) => this.welcome(socket));
    this.double.send = (message, answered) =>
      this.socket?.emit("events", message, (value: unknown) => answered?.(value));
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.http.listen(0, "127.0.0.1", resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  /** Breaks the connection as a dead network does; the client comes back by itself. */
  breakOff(): void {
    this.socket?.conn.close();
  }

  /** Ends the connection as a server does that has revoked a token. */
  endConnection(): void {
    this.socket?.disconnect(true);
  }

  async stop(): Promise<void> {
    await this.io.close();
  }

  private welcome(socket: Socket): void {
    this.socket = socket;
    this.auths.push(socket.handshake.auth);
    this.transports.push(socket.conn.transport.name);
    this.double.connected();
    socket.onAny((event: string, payload: unknown, answer: (ack: unknown) => void) =>
      this.double.serve(event, payload, answer),
    );
  }
}

let upstream: UpstreamDouble;
let server: SocketServer;

beforeAll(async () => {
  upstream = await UpstreamDouble.start();
});
afterAll(() => upstream.stop());

beforeEach(async () => {
  server = new SocketServer();
  await server.start();
  upstream.asked.length = 0;
  upstream.script = (response, { method }) => {
    response.end(method === "GET" ? '{"data":[{"id":"model"}]}' : stream("Hello", " world"));
  };
});
afterEach(() => server.stop());

const environment = () => ({ OPENAI_COMPATIBLE_BASE_URL: upstream.url, OPENAI_COMPATIBLE_API_KEY: CANARY });

describe("the companion, over a real socket", () => {
  let host: Host;

  beforeEach(async () => {
    host = await openCompanion({
      url: server.url,
      token: TOKEN,
      version: "1",
      identity: IDENTITY,
      environment: environment(),
    });
  });
  afterEach(() => host.stop());

  const ready = () => vi.waitUntil(() => host.state().status === "ready");

  it("[C1][C2][C3] connects by WebSocket, with its token and version", async () => {
    await host.start();
    await ready();
    expect(server.transports).toEqual(["websocket"]);
    expect(server.auths).toEqual([
      { token: TOKEN, client: { name: "keyside-companion", version: "1", protocol: 1 } },
    ]);
    await vi.waitUntil(() => server.double.announcements.at(-1)?.connections[0]?.models.length);
    expect(server.double.announcements.at(-1)).toMatchObject({
      executor_id: "companion",
      name: "Box",
      connections: [{ id: "custom", models: [{ id: "model" }] }],
    });
  });

  it("[E1] has its models from its first announcement on, so that no run that waits for one fails", async () => {
    await host.start();
    await ready();
    expect(server.double.announcements[0]?.connections[0]?.models.map(({ id }) => id)).toEqual(["model"]);
  });

  it("[E1] sends nothing on a new connection that was meant for an older one", async () => {
    const opened = vi.fn();
    const nothing = () => {};
    const transport = socketIo({ url: server.url, client: { name: "test", version: "1" } })({
      opened,
      closed: nothing,
      refused: nothing,
      received: nothing,
    });
    transport.emit("stale", {}, nothing);
    transport.open();
    await vi.waitUntil(() => opened.mock.calls.length);
    transport.emit("executor:ready", { holds: [] }, nothing);
    await vi.waitUntil(() => server.double.events.length);
    transport.close();
    expect(server.double.events).toEqual(["executor:ready"]);
  });

  it("[C2] greets once, however often it is opened meanwhile: who greets twice is sent away for good", async () => {
    let unlock = (): void => {};
    server.door = new Promise((resolve) => {
      unlock = resolve;
    });
    const opened = vi.fn();
    const nothing = () => {};
    const transport = socketIo({ url: server.url, client: { name: "test", version: "1" } })({
      opened,
      closed: nothing,
      refused: nothing,
      received: nothing,
    });
    transport.open();
    await vi.waitUntil(() => server.knocks);
    transport.open(); // as a page does that comes while the executor connects
    unlock();
    await vi.waitUntil(() => opened.mock.calls.length);
    transport.emit("executor:ready", { holds: [] }, nothing);
    await vi.waitUntil(() => server.double.events.length);
    transport.close();
    expect(server.knocks).toBe(1);
  });

  it("[E2][E3][E5][E7][C8] runs a call from offer to end", async () => {
    await host.start();
    await ready();
    const run = server.double.offer("run", { model: { connection_id: "custom" } });
    await vi.waitUntil(() => run.finish);
    expect(server.double.answers).toEqual([{ status: true, run_id: "run", attempt: 1, error: null }]);
    expect(run.lines).toEqual([
      `data: ${chunk("Hello")}`,
      `data: ${chunk(" world")}`,
      `data: ${chunk("", "stop")}`,
      "data: [DONE]",
    ]);
    await vi.waitUntil(() => host.state().running === 0);
  });

  it("[E1][E5] a connection that breaks in mid-answer loses and doubles nothing", async () => {
    await host.start();
    await ready();
    const words = Array.from({ length: 60 }, (_, count) => `word ${count} `);
    upstream.script = async (response) => {
      for (const word of words) await new Promise((resolve) => response.write(event(chunk(word)), resolve));
      response.end(event(chunk("", "stop")) + event("[DONE]"));
    };
    let frames = 0;
    server.double.meddle = (name, payload) => {
      if (name === "executor:ready") return false;
      frames += 1;
      if (frames !== 2) return false;
      // Stored, but the connection is gone before the acknowledgement.
      server.double.handle(name, payload, () => {});
      server.breakOff();
      return true;
    };
    const run = server.double.offer("run", { model: { connection_id: "custom" } });
    await vi.waitUntil(() => run.finish, { timeout: 5_000 });
    expect(server.auths).toHaveLength(2);
    const expected = [...words.map((word) => chunk(word)), chunk("", "stop"), "[DONE]"].map(
      (data) => `data: ${data}`,
    );
    expect(run.lines).toEqual(expected);
    expect(upstream.asked.filter(({ method }) => method === "POST")).toHaveLength(1);
  });

  it("[E9] a stop reaches upstream", async () => {
    await host.start();
    await ready();
    upstream.script = (response) => void response.write(event(chunk("a")));
    const run = server.double.offer("run", { model: { connection_id: "custom" } });
    await vi.waitUntil(() => run.lines.length === 1);
    server.double.abort(run);
    await vi.waitUntil(() => run.finish);
    expect(run.finish?.reason).toBe("aborted");
    await upstream.asked.at(-1)?.left;
  });

  it("[C2] a server that does not want it says so once", async () => {
    server.refusal = "unauthorized";
    await host.start();
    await vi.waitUntil(() => host.state().status === "refused");
    expect(host.state().error?.code).toBe("unauthorized");
  });

  it.each(["internal", "store_unavailable", "shutting_down", "of a later version", ""])(
    "[C2] a server that refuses with '%s' is asked again until it lets the companion in",
    async (code) => {
      server.refusal = code;
      await host.start();
      await vi.waitUntil(() => server.knocks >= 2, { timeout: 5_000 });
      expect(host.state().status).toBe("offline");
      expect(host.state().error).not.toBeNull();
      server.refusal = null;
      await vi.waitUntil(() => host.state().status === "ready", { timeout: 5_000 });
      expect(host.state().error).toBeNull();
    },
  );

  it("[C2] comes back after the server has ended the connection, and is told if it may not", async () => {
    await host.start();
    await ready();
    server.refusal = "unauthorized";
    server.endConnection();
    await vi.waitUntil(() => host.state().status === "refused", { timeout: 5_000 });
    expect(host.state().error?.code).toBe("unauthorized");
  });
});

describe("the companion's program", () => {
  let folder: string;
  let program: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "keyside-companion-"));
    program = join(folder, "keyside-executor.mjs");
    await build(folder);
  }, 60_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Runs the built program until it ends, or until `until` was printed and `then` is done. */
  function start(flags: readonly string[], variables: Record<string, string>) {
    const child = spawn(process.execPath, [program, ...flags], {
      env: { PATH: process.env.PATH ?? "", KEYSIDE_EXECUTOR_DIR: join(folder, "identity"), ...variables },
    });
    const said = { out: "", error: "" };
    child.stdout.on("data", (text) => {
      said.out += text;
    });
    child.stderr.on("data", (text) => {
      said.error += text;
    });
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    return { child, said, ended };
  }

  it("prints one line when it is ready, keeps its identity, runs a call, and ends on SIGTERM", async () => {
    const variables = { ...environment(), KEYSIDE_URL: server.url, KEYSIDE_TOKEN: TOKEN };
    const { child, said, ended } = start(["--name", "Box"], variables);
    await vi.waitUntil(() => said.out.includes("\n"), { timeout: 8_000 });
    expect(said.out).toBe('Keyside executor "Box" is ready: 1 models\n');
    const run = server.double.offer("run", { model: { connection_id: "custom" } });
    await vi.waitUntil(() => run.finish);
    expect(run.finish?.reason).toBe("stop");
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    expect(said.error).toBe("");
    const kept = JSON.parse(await readFile(join(folder, "identity", "executor.json"), "utf8"));
    expect(server.double.announcements[0]?.executor_id).toBe(kept.executorId);
    expect(JSON.stringify(kept)).not.toContain(CANARY);
  }, 20_000);

  it("ends with a sentence when the server does not want it", async () => {
    server.refusal = "unauthorized";
    const { said, ended } = start(["--url", server.url], {});
    expect(await ended).toBe(1);
    expect(said.error).toMatch(/^The server refuses this executor: .*\n$/);
  }, 20_000);

  it("waits for a server that refuses it for the moment, and says why", async () => {
    server.refusal = "internal";
    const { child, said, ended } = start(["--url", server.url], {});
    await vi.waitUntil(() => server.knocks >= 2, { timeout: 8_000 });
    server.refusal = null;
    await vi.waitUntil(() => said.out.includes("is ready"), { timeout: 8_000 });
    expect(said.error).toBe(
      `Waiting for the server at ${server.url}. It says: ${failure("internal").message}\n`,
    );
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  }, 20_000);

  it("[S1] prints no key and no token, whoever says it", async () => {
    server.refusal = `not with ${CANARY} or ${TOKEN}, ${TOKEN.toUpperCase()}`;
    const variables = { ...environment(), KEYSIDE_URL: server.url };
    const { child, said, ended } = start(["--token", TOKEN], variables);
    await vi.waitUntil(() => said.error.includes("\n"), { timeout: 8_000 });
    expect(said.error).toContain("not with [redacted] or [redacted], [redacted]");
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
    const lost = start([TOKEN], {});
    expect(await lost.ended).toBe(2);
    expect(lost.said.error).toMatch(/belongs to no option/);
    expect(lost.said.error).not.toContain(TOKEN);
  }, 20_000);

  it("waits for a server that is not there yet, and says so", async () => {
    const { child, said, ended } = start(["--url", "http://127.0.0.1:1"], {});
    await vi.waitUntil(() => said.error.includes("\n"), { timeout: 8_000 });
    expect(said.error).toBe("Waiting for the server at http://127.0.0.1:1\n");
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  }, 20_000);

  it("shows how it is used, and says what it does not understand", async () => {
    const help = start(["--help"], {});
    expect(await help.ended).toBe(0);
    expect(help.said.out).toContain("KEYSIDE_URL");
    const wrong = start(["--nonsense"], {});
    expect(await wrong.ended).toBe(2);
    expect(wrong.said.error).toContain("--nonsense");
  }, 20_000);
});

async function build(outDir: string): Promise<void> {
  const { build } = await import("vite");
  const configFile = fileURLToPath(new URL("../vite.companion.config.ts", import.meta.url));
  await build({ configFile, logLevel: "silent", build: { outDir, emptyOutDir: false } });
}
