/** Runs one upstream call: it fetches, and writes the answer's lines in the dialect of OpenAI's chunks. */

import { createParser, type EventSourceParser } from "eventsource-parser";
import type { Clock } from "../clock";
import type { Dialect, Json, Target, UpstreamRequest } from "../dialects/dialect";
import { FailureError, fail } from "../failures";
import { MAX_LINE } from "../limits";
import type { Finish } from "../protocol.gen";
import { beginning, type ReadWatch, texts, whole } from "./body";
import { Ending } from "./ending";
import { explainError, explainStatus, explainUnreachable, type Place, parseJson, type Who } from "./explain";
import { limitsOfWhole, type SilenceLimits, SilenceWatch } from "./silence";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** What a call needs of the outside world. */
export interface Upstream {
  readonly fetch: Fetch;
  readonly place: Place;
  readonly clock: Clock;
}

export interface Call {
  readonly target: Target;
  readonly dialect: Dialect;
  readonly who: Who;
  readonly model: string;
  readonly formData: Json;
  readonly limits: SilenceLimits;
}

/** `chunk` is the JSON in the line. Whoever is given it may change it. */
export type Write = (line: string, chunk?: unknown) => Promise<void>;

const MOST_ERROR_TEXT = 64 * 1024;
/** Larger than a line, because indented JSON becomes shorter when it is written on one line. */
const MOST_COMPLETION_TEXT = 4 * MAX_LINE;

const ABORTED: Finish = { reason: "aborted", error: null };

/** Makes the call, writes the answer's lines in order, and returns how it ended. */
export async function run(
  call: Call,
  upstream: Upstream,
  write: Write,
  signal: AbortSignal,
): Promise<Finish> {
  const silence = new SilenceWatch(limitsOf(call), call.who.label, upstream.clock);
  try {
    const request = call.dialect.chat(call.target, call.model, call.formData);
    const either = AbortSignal.any([signal, silence.signal]);
    const response = await ask(request, call.who, upstream, either, silence);
    const finish = await relay(response, call, write, silence).catch((error: unknown) => {
      // Why the answer broke off says more than what is wrong with the part that came.
      throw silence.error ?? error;
    });
    if (silence.error && finish.reason === "truncated") throw silence.error;
    return signal.aborted ? ABORTED : finish;
  } catch (error) {
    if (signal.aborted) return ABORTED;
    const known = error instanceof FailureError ? error : silence.error;
    if (known) return { reason: "error", error: known.failure };
    throw error;
  } finally {
    silence.stop();
  }
}

const limitsOf = ({ formData, limits }: Call): SilenceLimits =>
  formData.stream === true ? limits : limitsOfWhole(limits);

/** Returns an answer whose status is 2xx. Otherwise throws a `FailureError` with a sentence for people. */
export async function ask(
  { url, method, headers, body }: UpstreamRequest,
  who: Who,
  { fetch, place }: Upstream,
  signal: AbortSignal,
  watch?: ReadWatch,
): Promise<Response> {
  const init: RequestInit = { ...OPTIONS, method, headers, body: body ?? null, signal };
  const response = await fetch(url, init).catch((error: unknown) => {
    if (signal.aborted) throw error;
    throw new FailureError(explainUnreachable(who, place));
  });
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    fail(
      "upstream_error",
      `${who.label} sends this address elsewhere. Enter the one it sends to as base URL.`,
    );
  }
  if (response.ok) return response;
  const text = response.body ? await whole(texts(response.body, watch), MOST_ERROR_TEXT) : "";
  throw new FailureError(explainStatus(response.status, text, who));
}

/**
 * Sends no cookie and no referrer, and follows no redirect, which could take the key to a host that it is not pinned
 * to.
 */
const OPTIONS: RequestInit = { credentials: "omit", referrerPolicy: "no-referrer", redirect: "manual" };

async function relay(response: Response, call: Call, write: Write, watch: ReadWatch): Promise<Finish> {
  if (!response.body) fail("upstream_not_a_stream");
  const text = texts(response.body, watch);
  try {
    const head = await beginning(text);
    const first = head.trimStart().charAt(0);
    // The content type that a provider names is often wrong, so the first character decides.
    if (first === "{" || first === "[") return await relayCompletion(head, text, call, write);
    if (first === "<") fail("upstream_not_a_stream");
    return await relayStream(head, text, call, write, isEventStream(response));
  } finally {
    await text.return();
  }
}

const isEventStream = (response: Response): boolean =>
  response.headers.get("content-type")?.includes("text/event-stream") ?? false;

/** Relays an answer in one piece: it was asked for with `stream: false`, or the server does not stream. */
async function relayCompletion(
  head: string,
  text: AsyncIterable<string>,
  { dialect, who }: Call,
  write: Write,
): Promise<Finish> {
  const json = parseJson(head + ((await whole(text, MOST_COMPLETION_TEXT)) ?? fail("line_too_long")));
  const error = explainError(json, who);
  if (error) throw new FailureError(error);
  const chunk = typeof json === "object" && json !== null ? dialect.toChunk(json as Json) : null;
  if (!chunk) fail("upstream_not_a_stream");
  const ending = new Ending(who);
  ending.observe("", chunk);
  ending.observe("[DONE]", null);
  await write(`data: ${JSON.stringify(chunk)}`, chunk);
  await write("data: [DONE]");
  return ending.finish();
}

async function relayStream(
  head: string,
  text: AsyncIterable<string>,
  { who }: Call,
  write: Write,
  declared: boolean,
): Promise<Finish> {
  const ending = new Ending(who);
  const events = new Events();
  const pass = async (data: string) => {
    if (ending.reached) return;
    const chunk = parseJson(data);
    ending.observe(data, chunk);
    await write(`data: ${data}`, chunk);
  };
  for await (const part of following(head, text)) {
    for (const data of events.feed(part)) await pass(data);
    if (ending.reached) break;
  }
  if (!ending.reached) for (const data of events.rest()) await pass(data);
  if (!declared && !events.seen) fail("upstream_not_a_stream");
  return ending.finish();
}

async function* following(
  head: string,
  text: AsyncIterable<string>,
): AsyncGenerator<string, void, undefined> {
  yield head;
  yield* text;
}

/** The data of the events in a stream of server-sent events. */
class Events {
  /** Whether an event or a comment came, which only such a stream has. */
  seen = false;
  private readonly parser: EventSourceParser;
  private data: string[] = [];
  private overflow = false;

  constructor() {
    this.parser = createParser({
      maxBufferSize: MAX_LINE,
      onEvent: (event) => {
        this.seen = true;
        this.data.push(event.data);
      },
      onComment: () => {
        this.seen = true;
      },
      onError: (error) => {
        this.overflow ||= error.type === "max-buffer-size-exceeded";
      },
    });
  }

  feed(text: string): string[] {
    if (text !== "" && !this.overflow) this.parser.feed(text);
    if (this.overflow && this.data.length === 0) fail("line_too_long");
    const data = this.data;
    this.data = [];
    return data;
  }

  /** The last event of a server that closes without a blank line. A part of an event is left out. */
  rest(): string[] {
    return this.feed("\n\n").filter((data) => data.trim() === "[DONE]" || parseJson(data) !== undefined);
  }
}
