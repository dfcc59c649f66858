import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openai } from "../src/dialects/openai";
import { Redaction } from "../src/link/redaction";
import type { Finish } from "../src/protocol.gen";
import type { Place } from "../src/upstream/explain";
import { providerOf } from "../src/upstream/providers";
import { type Call, run } from "../src/upstream/runner";
import { FakeClock } from "./kit/clock";
import { canary } from "./kit/secrets";
import { chunk, event, stream, UpstreamDouble } from "./kit/upstream";

const NODE: Place = { kind: "node", https: false };
const BROWSER: Place = { kind: "browser", https: false };
const DONE = event("[DONE]");

let secrets: readonly string[] = [];
const { clean } = new Redaction(() => secrets);
let upstream: UpstreamDouble;

beforeAll(async () => {
  upstream = await UpstreamDouble.start();
});
afterAll(() => upstream.stop());
beforeEach(() => {
  upstream.asked.length = 0;
  secrets = [];
});

interface Result {
  readonly finish: Finish;
  readonly lines: string[];
}

interface Options {
  readonly formData?: object;
  readonly provider?: string;
  readonly baseUrl?: string;
  readonly place?: Place;
}

async function ask(options: Options = {}): Promise<Result> {
  const lines: string[] = [];
  const write = async (line: string) => void lines.push(line);
  const finish = await run(call(options), world(options.place), write, new AbortController().signal);
  return { finish, lines };
}

const world = (place = NODE) => ({
  fetch: (url: string, init: RequestInit) => fetch(url, init),
  place,
  clock: new FakeClock(),
});

function call({
  formData = { stream: true },
  provider = "custom",
  baseUrl = upstream.url,
}: Options = {}): Call {
  return {
    target: { provider, baseUrl, key: "sk-test" },
    dialect: openai,
    who: { label: "Example", provider: providerOf(provider), baseUrl, hasKey: true, model: "gpt", clean },
    model: "gpt",
    formData: { messages: [], ...formData },
    limits: { firstLine: null, idle: null },
  };
}

const data = (lines: readonly string[]) => lines.map((line) => line.replace(/^data: /, ""));

describe("a stream", () => {
  it("goes through line by line, and ends with its finish reason", async () => {
    upstream.sends([stream("Hello", " world")]);
    const { finish, lines } = await ask();
    expect(data(lines)).toEqual([chunk("Hello"), chunk(" world"), chunk("", "stop"), "[DONE]"]);
    expect(finish).toEqual({ reason: "stop", error: null });
    expect(upstream.asked[0]).toMatchObject({ method: "POST", path: "/v1/chat/completions" });
    expect(upstream.asked[0]?.headers.authorization).toBe("Bearer sk-test");
  });

  it("[D2] is the same wherever the network cuts it, and whichever line ends it has", async () => {
    const lineEnds = ["\n", "\r\n", "\r"];
    const texts = lineEnds.map((end) => `: hi\n\n${stream("Grüße, 世界", "🙂 end")}`.replaceAll("\n", end));
    for (const text of texts) {
      const bytes = new TextEncoder().encode(text);
      for (let cut = 1; cut < bytes.length; cut += 1) {
        const { finish, lines } = await relayed([bytes.slice(0, cut), bytes.slice(cut)]);
        expect(data(lines)).toEqual([chunk("Grüße, 世界"), chunk("🙂 end"), chunk("", "stop"), "[DONE]"]);
        expect(finish.reason).toBe("stop");
      }
    }
  });

  it("[D2] is the same when every byte comes alone, over a real connection", async () => {
    const bytes = new TextEncoder().encode(stream("Grüße", "🙂"));
    upstream.sends(Array.from(bytes, (byte) => new Uint8Array([byte])));
    expect(data((await ask()).lines)).toEqual([chunk("Grüße"), chunk("🙂"), chunk("", "stop"), "[DONE]"]);
  });

  it("[E7] cut off at any byte it is truncated, and every whole event before the cut is kept", async () => {
    const bytes = new TextEncoder().encode(event(chunk("one")) + event(chunk("two")));
    for (let cut = 0; cut < bytes.length; cut += 1) {
      const { finish, lines } = await relayed([bytes.slice(0, cut)]);
      expect(finish).toMatchObject({ reason: "truncated", error: { code: "upstream_truncated" } });
      for (const line of data(lines)) expect([chunk("one"), chunk("two")]).toContain(line);
    }
  });

  it("[E7] a connection that breaks is truncated", async () => {
    upstream.script = (response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(event(chunk("one")), () => response.destroy());
    };
    const { finish, lines } = await ask();
    expect(finish.reason).toBe("truncated");
    expect(data(lines)).toEqual([chunk("one")]);
  });

  it("[E7] a finish reason is an end without [DONE], also when the connection then breaks", async () => {
    upstream.script = (response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(event(chunk("one", "length")), () => response.destroy());
    };
    expect((await ask()).finish).toEqual({ reason: "length", error: null });
  });

  it("[E7] [DONE] is an end without a finish reason, and nothing is read after it", async () => {
    upstream.script = (response) => void response.write(event(chunk("one")) + DONE);
    const { finish } = await ask();
    expect(finish).toEqual({ reason: "stop", error: null });
    await upstream.asked[0]?.left;
  });

  it.each([
    ["tool_calls", "tool_calls"],
    ["function_call", "tool_calls"],
    ["content_filter", "content_filter"],
    ["length", "length"],
    ["eos", "stop"],
    ["constructor", "stop"],
  ])("[E7] finish reason %s is %s", async (theirs, ours) => {
    upstream.sends([event(chunk("", theirs)), DONE]);
    expect((await ask()).finish.reason).toBe(ours);
  });

  it("usage after the finish reason is sent as well", async () => {
    const usage = JSON.stringify({ choices: [], usage: { total_tokens: 3 } });
    upstream.sends([event(chunk("a", "stop")), event(usage), DONE]);
    expect(data((await ask()).lines)).toEqual([chunk("a", "stop"), usage, "[DONE]"]);
  });

  it("the last event counts without the blank line, but a part of one does not", async () => {
    expect(data((await relayed([event(chunk("a")), "data: [DONE]"])).lines)).toEqual([chunk("a"), "[DONE]"]);
    expect(data((await relayed([event(chunk("a")), 'data: {"choices": [{"de'])).lines)).toEqual([chunk("a")]);
  });

  it("keeps data that is no JSON, and comments are not sent", async () => {
    upstream.sends([": keep-alive\n\n", event("noise"), event(chunk("a", "stop")), DONE]);
    expect(data((await ask()).lines)).toEqual(["noise", chunk("a", "stop"), "[DONE]"]);
  });

  it.each([
    ['{"error":{"message":"Overloaded","code":"502"}}', "upstream_error", "Overloaded"],
    ['{"object":"error","message":"CUDA broke"}', "upstream_error", "CUDA broke"],
    ['{"error":"just text"}', "upstream_error", "just text"],
    [
      '{"error":{"message":"slow","code":429},"choices":[{"delta":{},"finish_reason":"error"}]}',
      "upstream_rate_limited",
      "slow",
    ],
    ['{"choices":[{"delta":{},"finish_reason":"error"}]}', "upstream_error", "error"],
  ])("[E7] an error in mid-stream is sent, and ends the run: %s", async (line, code, words) => {
    upstream.sends([event(chunk("a")), event(line), event(chunk("never"))]);
    const { finish, lines } = await ask();
    expect(data(lines)).toEqual([chunk("a"), line]);
    expect(finish).toMatchObject({ reason: "error", error: { code } });
    expect(finish.error?.message).toContain(words);
  });

  it("[E10] a line over 1 MiB ends the run with line_too_long, and what came before is kept", async () => {
    upstream.sends([event(chunk("a")), `data: ${"x".repeat(3 * 1024 * 1024)}`, "\n\n"]);
    const { finish, lines } = await ask();
    expect(finish).toMatchObject({ reason: "error", error: { code: "line_too_long" } });
    expect(data(lines)).toEqual([chunk("a")]);
  });

  it("[E9] an abort ends the request upstream", async () => {
    upstream.script = (response) => void response.write(event(chunk("a")));
    const controller = new AbortController();
    const finish = await run(call(), world(), async () => controller.abort(), controller.signal);
    expect(finish).toEqual({ reason: "aborted", error: null });
    await upstream.asked[0]?.left;
  });

  it("[E10] reads no further while its lines are not taken", async () => {
    let sent = 0;
    upstream.script = async (response) => {
      const piece = event(chunk("x".repeat(60_000)));
      const more = () =>
        new Promise<boolean>((resolve) => response.write(piece, () => resolve(true)) || resolve(false));
      for (; sent < 400 && (await more()); sent += 1);
    };
    const controller = new AbortController();
    const full = new Promise<void>((resolve) => controller.signal.addEventListener("abort", () => resolve()));
    const running = run(call(), world(), () => full, controller.signal);
    await expect.poll(() => upstream.asked.length).toBe(1);
    expect(sent).toBeLessThan(400);
    controller.abort();
    expect((await running).reason).toBe("aborted");
  });
});

/** Without a network, for the tests that ask many times. */
async function relayed(pieces: readonly (string | Uint8Array)[]): Promise<Result> {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces)
        controller.enqueue(typeof piece === "string" ? encoder.encode(piece) : piece);
      controller.close();
    },
  });
  const response = new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  const lines: string[] = [];
  const finish = await run(
    call(),
    { ...world(), fetch: async () => response },
    async (line) => void lines.push(line),
    new AbortController().signal,
  );
  return { finish, lines };
}

describe("an answer that is no stream", () => {
  it("a completion becomes one chunk and [DONE]", async () => {
    const message = { role: "assistant", content: "Hi", tool_calls: [{ id: "t", function: { name: "f" } }] };
    const completion = {
      id: "1",
      object: "chat.completion",
      choices: [{ index: 0, message, finish_reason: "length" }],
    };
    upstream.sends(
      [JSON.stringify({ ...completion, usage: { total_tokens: 3 } }, null, 2)],
      "application/json",
    );
    const { finish, lines } = await ask({ formData: { stream: false } });
    expect(finish).toEqual({ reason: "length", error: null });
    expect(lines[1]).toBe("data: [DONE]");
    expect(JSON.parse(data(lines)[0] ?? "")).toEqual({
      id: "1",
      object: "chat.completion.chunk",
      choices: [
        {
          index: 0,
          delta: {
            role: "assistant",
            content: "Hi",
            tool_calls: [{ index: 0, id: "t", function: { name: "f" } }],
          },
          finish_reason: "length",
        },
      ],
      usage: { total_tokens: 3 },
    });
  });

  it("blank lines before it are passed over", async () => {
    upstream.sends(
      ["\n", "\n\n", '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'],
      "text/plain",
    );
    expect((await ask()).finish.reason).toBe("stop");
  });

  it.each([
    ["text/html", "<!doctype html><title>Sign in</title>"],
    ["text/plain", "It works!"],
    ["application/json", '{"status":"ok"}'],
    ["application/json", "[1, 2]"],
    ["application/json", '{"choices": ['],
  ])("%s: %s is upstream_not_a_stream", async (type, body) => {
    upstream.sends([body], type);
    expect((await ask()).finish).toMatchObject({ reason: "error", error: { code: "upstream_not_a_stream" } });
  });

  it("an error object is an error, also with status 200", async () => {
    upstream.sends(
      ['{"error":{"message":"Model gpt is asleep","code":"model_not_found"}}'],
      "application/json",
    );
    const { finish } = await ask();
    expect(finish.error?.code).toBe("upstream_model_not_found");
    expect(finish.error?.message).toContain("Model gpt is asleep");
  });
});

describe("a refusal in plain words", () => {
  it.each([
    [401, '{"error":{"message":"bad key"}}', "upstream_unauthorized", /refused the key.*bad key/],
    [403, "", "upstream_unauthorized", /refused the key/],
    [
      404,
      '{"error":{"message":"The model `gpt` does not exist"}}',
      "upstream_model_not_found",
      /does not know the model gpt/,
    ],
    [
      400,
      '{"error":{"code":"model_not_found","message":"no"}}',
      "upstream_model_not_found",
      /does not know the model/,
    ],
    [404, "<html>Not Found</html>", "upstream_error", /Check the connection's base URL/],
    [429, '{"error":{"message":"Too fast"}}', "upstream_rate_limited", /slow down.*Too fast/],
    [402, '{"error":{"message":"No credit"}}', "upstream_rate_limited", /out of credit/],
    [500, '[{"error":{"message":"oops"}}]', "upstream_error", /\(500\).*oops/],
    [422, '{"detail":[{"loc":["body"],"msg":"field required"}]}', "upstream_error", /field required/],
    [503, "<html>Bad gateway</html>", "upstream_error", /^Example answered with an error \(503\)\.$/],
  ])("%i %s", async (status, body, code, words) => {
    upstream.sends([body], "application/json", status);
    const { finish, lines } = await ask();
    expect(lines).toEqual([]);
    expect(finish.reason).toBe("error");
    expect(finish.error?.code).toBe(code);
    expect(finish.error?.message).toMatch(words);
  });

  it("quotes at most 500 characters of the upstream", async () => {
    upstream.sends([JSON.stringify({ error: { message: "y".repeat(5_000) } })], "application/json", 500);
    expect((await ask()).finish.error?.message.match(/y/g)).toHaveLength(500);
  });

  it("[E13] quotes nothing of an answer that is too long to be read", async () => {
    const secret = canary(52);
    secrets = [secret];
    for (const body of [
      `${"y".repeat(65_500)}${secret}`,
      JSON.stringify({ error: { message: "y".repeat(70_000) } }),
    ]) {
      upstream.sends([body], "application/json", 500);
      expect((await ask()).finish.error?.message).toBe("Example answered with an error (500).");
    }
  });

  it("follows no redirect: it could lead the key elsewhere", async () => {
    upstream.script = (response) => void response.writeHead(307, { Location: "/elsewhere" }).end();
    expect((await ask()).finish.error?.message).toMatch(/sends this address elsewhere/);
    expect(upstream.asked).toHaveLength(1);
  });
});

describe("an upstream that cannot be reached", () => {
  const NOWHERE = "http://127.0.0.1:1/v1";
  const reach = async (provider: string, baseUrl: string, place: Place) => {
    const failing = { ...world(place), fetch: () => Promise.reject(new TypeError("Failed to fetch")) };
    const signal = new AbortController().signal;
    const { error } = await run(call({ provider, baseUrl }), failing, async () => {}, signal);
    expect(error?.code).toBe("upstream_unreachable");
    return error?.message ?? "";
  };

  it("says so over a real socket, and never names the address", async () => {
    const { finish } = await ask({ baseUrl: NOWHERE });
    expect(finish.error?.message).toMatch(/Example cannot be reached.*Is it running/);
    expect(JSON.stringify(finish)).not.toContain("127.0.0.1");
  });

  it("depends on who it is, and on where this runs", async () => {
    const https = { ...BROWSER, https: true };
    expect(await reach("openai", "https://api.openai.com/v1", BROWSER)).toMatch(
      /offline, or the key is wrong/,
    );
    expect(await reach("ollama", "http://localhost:11434/v1", BROWSER)).toMatch(
      /Is it running.*OLLAMA_ORIGINS/,
    );
    expect(await reach("ollama", "http://localhost:11434/v1", https)).toMatch(/local network/);
    expect(await reach("lmstudio", "http://localhost:1234/v1", BROWSER)).toMatch(/--cors/);
    expect(await reach("custom", "http://10.0.0.5/v1", https)).toMatch(/may not call a plain http address/);
    expect(await reach("custom", "https://box.example/v1", https)).toMatch(/CORS/);
    expect(await reach("custom", "https://box.example/v1", NODE)).toMatch(/this machine is online/);
  });
});
