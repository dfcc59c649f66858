/** Says in plain words what went wrong upstream and what to do next. It never names the address or the key. */

import type { Provider } from "../catalog.gen";
import type { ErrorCode } from "../errors.gen";
import { failure } from "../failures";
import { type Clean, excerpt } from "../link/redaction";
import type { Failure } from "../protocol.gen";
import { isLoopback } from "./base-url";

/** The connection that a sentence is about. */
export interface Who {
  readonly label: string;
  readonly provider: Provider | undefined;
  readonly baseUrl: string;
  readonly hasKey: boolean;
  /** The model that was asked for, or null where models are listed. */
  readonly model: string | null;
  /** Takes secrets out of what is quoted. */
  readonly clean: Clean;
}

/** Where this executor runs. */
export interface Place {
  readonly kind: "browser" | "node";
  /** Whether its page came by https. */
  readonly https: boolean;
}

const LONGEST_QUOTE = 500;

/** Explains an answer whose status is not 2xx. `body` is null if it was too long to be read. */
export function explainStatus(status: number, body: string | null, who: Who): Failure {
  const { message, code } = readError(body === null ? null : parseJson(body));
  return byStatus(status, code, message, who);
}

/** Explains an error object, in mid-stream or as the whole answer. Null if the value is no error. */
export function explainError(value: unknown, who: Who): Failure | null {
  const { found, message, code } = readError(value);
  if (!found) return null;
  return byStatus(Number(code) || 0, code, message, who);
}

function byStatus(status: number, code: string, message: string, who: Who): Failure {
  const said = message === "" ? "" : ` It said: ${quoted(message, who)}`;
  const kind = kindOf(status, code, message);
  return failure(kind, `${sentence(kind, status, who)}${said}`);
}

const quoted = (text: string, { clean }: Who): string => excerpt(text, LONGEST_QUOTE, clean);

/** The codes of providers for failures that have a code of their own here. */
const KNOWN_CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ["invalid_api_key", "upstream_unauthorized"],
  ["model_not_found", "upstream_model_not_found"],
  ["rate_limit_exceeded", "upstream_rate_limited"],
]);

function kindOf(status: number, code: string, message: string): ErrorCode {
  if (status === 401 || status === 403) return "upstream_unauthorized";
  const known = KNOWN_CODES.get(code);
  if (known) return known;
  if (status === 404 && /model/i.test(message)) return "upstream_model_not_found";
  if (status === 402 || status === 429) return "upstream_rate_limited";
  return "upstream_error";
}

function sentence(kind: ErrorCode, status: number, who: Who): string {
  const { label, hasKey, model } = who;
  switch (kind) {
    case "upstream_unauthorized":
      return hasKey
        ? `${label} refused the key. Check it in the connection.`
        : `${label} wants a key. Enter one in the connection.`;
    case "upstream_model_not_found":
      return `${label} does not know the model ${quoted(model ?? "", who)}. Choose another one.`;
    case "upstream_rate_limited":
      return `${label} asks to slow down, or the account is out of credit. Wait a little, or check the account.`;
    default:
      return status === 404
        ? `${label} has nothing at this address (404). Check the connection's base URL; most end with /v1.`
        : `${label} answered with an error${status > 0 ? ` (${status})` : ""}.`;
  }
}

interface ReadError {
  readonly found: boolean;
  readonly message: string;
  readonly code: string;
}

/**
 * Reads `{"error": {...}}`, `{"error": "..."}`, `{"object": "error"}`, `{"message"}`, `{"detail"}`, or a list of one
 * of them.
 */
function readError(value: unknown): ReadError {
  const outer = fields(Array.isArray(value) ? value[0] : value);
  const inner = typeof outer.error === "object" && outer.error !== null ? fields(outer.error) : outer;
  const code = [inner.code, inner.type, inner.status].find(isCode);
  const message = [inner.message, outer.error, outer.message, outer.detail].find(isText);
  return {
    found: Boolean(outer.error) || outer.object === "error",
    message: message ?? (outer.detail === undefined ? "" : JSON.stringify(outer.detail)),
    code: code === undefined ? "" : String(code),
  };
}

const isCode = (value: unknown): value is string | number =>
  (typeof value === "string" && value !== "") || typeof value === "number";

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

const fields = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Explains a fetch that failed without an answer. A browser does not say why, so the likely reasons are named. */
export function explainUnreachable(who: Who, place: Place): Failure {
  const reasons = place.kind === "node" ? [fromNode(who)] : fromBrowser(who, place);
  return failure("upstream_unreachable", [`${who.label} cannot be reached.`, ...reasons].join(" "));
}

const fromNode = (who: Who): string =>
  isLoopback(who.baseUrl)
    ? "Is it running, and is the connection's base URL right?"
    : "Check the connection's base URL, and whether this machine is online.";

function fromBrowser(who: Who, place: Place): string[] {
  const { provider, baseUrl } = who;
  if (place.https && baseUrl.startsWith("http://") && !isLoopback(baseUrl)) {
    return ["A page that came by https may not call a plain http address: use https, or the companion."];
  }
  if (isLoopback(baseUrl)) return [localServer(place), ...hintOf(provider)];
  if (provider?.browser === "no") {
    return ["It does not let browsers in (CORS): run it through the companion, `keyside executor`."];
  }
  if (provider?.browser === "yes") {
    return [
      "Either this device is offline, or the key is wrong: a browser cannot read that refusal. Check both.",
    ];
  }
  return ["Check its address, and whether it is running.", ...hintOf(provider)];
}

const localServer = (place: Place): string =>
  place.https
    ? "Is it running, and does your browser have leave to use devices on the local network?"
    : "Is it running, and is the connection's base URL right?";

const hintOf = (provider: Provider | undefined): string[] => (provider?.hint ? [provider.hint] : []);
