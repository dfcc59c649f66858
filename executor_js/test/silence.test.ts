import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openai } from "../src/dialects/openai";
import { nodeFetch } from "../src/hosts/node-fetch";
import { Redaction } from "../src/link/redaction";
import type { Finish } from "../src/protocol.gen";
import { type Call, run } from "../src/upstream/runner";
import type { SilenceLimits } from "../src/upstream/silence";
import { FakeClock, settle } from "./kit/clock";
import { chunk, event, UpstreamDouble } from "./kit/upstream";

const { clean } = new Redaction(() => []);
const DONE = event(chunk("", "stop")) + event("[DONE]");

/** An upstream call whose answer the test writes, and whose end it awaits. */
class Watched {
  readonly clock = new FakeClock();
  readonly lines: string[] = [];
  readonly stop = new AbortController();
  /** What the executor's outbox does with a line. */
  take: (line: string) => Promise<void> = async () => {};
  finish: Finish | null = null;
  readonly ended: Promise<void>;
  private answer: (response: Response) => void = () => {};
  private body: ReadableStreamDefaultController<Uint8Array> | null = null;
  private signal: AbortSignal | null = null;

  constructor(limits: SilenceLimits, stream = true) {
    const call: Call = {
      target: { provider: "custom", baseUrl: "https://box.example/v1", key: null },
      dialect: openai,
      who: {
        label: "Box",
        provider: undefined,
        baseUrl: "https://box.example/v1",
        hasKey: false,
        model: "m",
        clean,
      },
      model: "m",
      formData: { messages: [], stream },
      limits,
    };
    const upstream = {
      fetch: (_url: string, init: RequestInit) => this.fetch(init.signal ?? null),
      place: { kind: "node", https: false } as const,
      clock: this.clock,
    };
    const write = async (line: string) => {
      this.lines.push(line);
      await this.take(line);
    };
    this.ended = run(call, upstream, write, this.stop.signal).then((finish) => {
      this.finish = finish;
    });
  }

  /** Whether the upstream was told that nobody waits any more. */
  get aborted(): boolean {
    return this.signal?.aborted ?? false;
  }

  async headers(status = 200): Promise<void> {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.body = controller;
        this.signal?.addEventListener("abort", () => controller.error(this.signal?.reason));
      },
    });
    this.answer(new Response(body, { status, headers: { "Content-Type": "text/event-stream" } }));
    await settle();
  }

  async sends(text: string): Promise<void> {
    this.body?.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async passes(seconds: number): Promise<void> {
    await this.clock.advance(seconds * 1_000);
  }

  private fetch(signal: AbortSignal | null): Promise<Response> {
    this.signal = signal;
    return new Promise((resolve, reject) => {
      this.answer = resolve;
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  }
}

const silent = (finish: Finish | null) => `${finish?.reason} ${finish?.error?.code}`;

describe("an upstream that falls silent", () => {
  it("[E8] before it answers at all: the call ends at the limit, and not before", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.passes(59.9);
    expect(call.finish).toBeNull();
    await call.passes(0.1);
    expect(call.aborted).toBe(true);
    expect(call.finish).toEqual({
      reason: "error",
      error: {
        code: "first_line_timeout",
        message: expect.stringMatching(/^Box did not begin to answer within 60 seconds\. /),
        retryable: true,
      },
    });
    expect(call.clock.pending).toBe(0);
  });

  it("[E8] after its headers: the limit runs from the start of the call", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.passes(40);
    await call.headers();
    await call.passes(19.9);
    expect(call.finish).toBeNull();
    await call.passes(0.1);
    expect(silent(call.finish)).toBe("error first_line_timeout");
  });

  it("[E8] in mid-answer: what came is kept, and the call ends", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.headers();
    await call.sends(event(chunk("Hello")));
    await call.passes(9.9);
    await call.sends(event(chunk(" world")));
    await call.passes(9.9);
    expect(call.finish).toBeNull();
    await call.passes(0.1);
    expect(call.aborted).toBe(true);
    expect(silent(call.finish)).toBe("error upstream_silent");
    expect(call.finish?.error?.message).toMatch(
      /^Box began to answer and then sent nothing for 10 seconds\. /,
    );
    expect(call.finish?.error?.retryable).toBe(true);
    expect(call.lines).toEqual([`data: ${chunk("Hello")}`, `data: ${chunk(" world")}`]);
    expect(call.clock.pending).toBe(0);
  });

  it("[E8] any byte is life: comments, and a line that comes in pieces", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.passes(59);
    await call.headers();
    for (const piece of [": waiting\n\n", ":", "\n", "data", ": ", chunk("Hello")]) {
      await call.sends(piece);
      await call.passes(9);
    }
    await call.sends(`\n\n${DONE}`);
    await call.ended;
    expect(call.finish).toEqual({ reason: "stop", error: null });
    expect(call.clock.pending).toBe(0);
  });

  it("[E8][E10] an executor that does not read, because its backlog is full, counts no silence", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    let room = () => {};
    call.take = () => new Promise((resolve) => (room = resolve));
    await call.headers();
    await call.sends(event(chunk("one")));
    await call.passes(3_600);
    expect(call.finish).toBeNull();
    await call.sends(event(chunk("two")));
    room();
    await call.passes(3_600);
    expect(call.lines).toHaveLength(2);
    expect(call.finish).toBeNull();
    room();
    await call.passes(9.9);
    expect(call.finish).toBeNull();
    await call.passes(0.1);
    expect(silent(call.finish)).toBe("error upstream_silent");
  });

  it("[E8] without limits it may take as long as it likes", async () => {
    const call = new Watched({ firstLine: null, idle: null });
    await call.passes(100_000);
    await call.headers();
    await call.passes(100_000);
    await call.sends(event(chunk("Hello")));
    await call.passes(100_000);
    expect(call.finish).toBeNull();
    expect(call.clock.pending).toBe(0);
    await call.sends(DONE);
    await call.ended;
    expect(call.finish?.reason).toBe("stop");
  });

  it("[E8] a limit that is longer than a timer can be is no limit of a millisecond", async () => {
    const after = vi.spyOn(FakeClock.prototype, "after");
    new Watched({ firstLine: 1e9, idle: null });
    expect(after.mock.calls[0]?.[0]).toBe(2 ** 31 - 1);
  });

  it.each([
    [{ firstLine: 60, idle: 300 }, 300],
    [{ firstLine: 60, idle: 10 }, 60],
  ])(
    "[E8] asked without a stream, %o, the answer may take the longer of the two",
    async (limits, seconds) => {
      const call = new Watched(limits, false);
      await call.passes(seconds - 0.1);
      expect(call.finish).toBeNull();
      await call.passes(0.1);
      expect(silent(call.finish)).toBe("error first_line_timeout");
    },
  );

  it.each([
    { firstLine: null, idle: 10 },
    { firstLine: 10, idle: null },
  ])("[E8] asked without a stream, %o, there is no limit before the first byte", async (limits) => {
    const call = new Watched(limits, false);
    await call.passes(100_000);
    expect(call.finish).toBeNull();
    call.stop.abort();
    await call.ended;
  });

  it("[E8] a part of an answer in one piece is no answer", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 }, false);
    await call.headers();
    await call.sends('{"choices": [');
    await call.passes(10);
    expect(silent(call.finish)).toBe("error upstream_silent");
    expect(call.lines).toEqual([]);
  });

  it("[E7] after its finish reason the answer is complete, though no [DONE] comes", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.headers();
    await call.sends(event(chunk("Hello", "length")));
    await call.passes(10);
    expect(call.aborted).toBe(true);
    expect(call.finish).toEqual({ reason: "length", error: null });
  });

  it("says what an error's status means, though its text never ends", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.headers(401);
    await call.sends('{"error"');
    await call.passes(10);
    expect(silent(call.finish)).toBe("error upstream_unauthorized");
  });

  it("[E9] a stop is a stop, and leaves no timer", async () => {
    const call = new Watched({ firstLine: 60, idle: 10 });
    await call.headers();
    call.stop.abort();
    await call.ended;
    expect(call.finish).toEqual({ reason: "aborted", error: null });
    expect(call.clock.pending).toBe(0);
  });
});

describe("Node's fetch", () => {
  const PLACES = ["undici.globalDispatcher.2", "undici.globalDispatcher.1"].map((name) => Symbol.for(name));
  const globals = globalThis as unknown as Record<
    symbol,
    { dispatch(options: object, handler: object): boolean }
  >;
  let upstream: UpstreamDouble;

  beforeEach(async () => {
    upstream = await UpstreamDouble.start();
  });
  afterEach(() => upstream.stop());

  it("[E8] is used without its own limits, and through the dispatcher that is set", async () => {
    upstream.sends(["Hello"]);
    expect(await (await nodeFetch(upstream.url, {})).text()).toBe("Hello");
    const place = PLACES.find((each) => globals[each]) as symbol;
    const set = globals[place] as (typeof globals)[symbol];
    const options: object[] = [];
    globals[place] = {
      dispatch: (given, handler) => {
        options.push(given);
        return set.dispatch(given, handler);
      },
    };
    try {
      expect(await (await nodeFetch(upstream.url, {})).text()).toBe("Hello");
    } finally {
      globals[place] = set;
    }
    expect(options).toMatchObject([{ headersTimeout: 0, bodyTimeout: 0 }]);
  });

  it("[E8] ends a call over a real connection whose upstream is silent", async () => {
    upstream.script = (response) => void response.write(event(chunk("Hello")));
    const clock = new FakeClock();
    const lines: string[] = [];
    const running = run(
      {
        target: { provider: "custom", baseUrl: upstream.url, key: null },
        dialect: openai,
        who: { label: "Box", provider: undefined, baseUrl: upstream.url, hasKey: false, model: "m", clean },
        model: "m",
        formData: { stream: true },
        limits: { firstLine: 60, idle: 10 },
      },
      { fetch: nodeFetch, place: { kind: "node", https: false }, clock },
      async (line) => void lines.push(line),
      new AbortController().signal,
    );
    await vi.waitUntil(() => lines.length === 1);
    await clock.advance(10_000);
    expect((await running).error?.code).toBe("upstream_silent");
    await upstream.asked[0]?.left;
  });
});
