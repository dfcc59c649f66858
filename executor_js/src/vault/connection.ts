/** A stored connection: its record, how a record is made from a form, and which record a run means. */

import type { ConnectionDraft } from "../client/contract";
import { fail } from "../failures";
import type { Failure, Model, ModelRef } from "../protocol.gen";
import { normalizeBaseUrl } from "../upstream/base-url";
import { providerOf } from "../upstream/providers";

/** Everything in a record may be shown to its user. The key is stored elsewhere. */
export interface ConnectionRecord {
  readonly id: string;
  /** Counts the connections in the order in which they were made. */
  readonly position: number;
  readonly provider: string;
  readonly label: string;
  readonly baseUrl: string;
  /** Whether a key was entered for it, even if that key cannot be read any more. */
  readonly keyed: boolean;
  /** Models that the user named, for a server that cannot list its own. */
  readonly offered: readonly string[];
  readonly models: readonly Model[];
  readonly error: Failure | null;
  /** When its models were listed the last time, successfully or not; 0 means never. */
  readonly listedAt: number;
  /** The user's limits for the upstream's silence, in seconds. Records of earlier versions have none. */
  readonly firstLineTimeout?: number | null;
  readonly idleTimeout?: number | null;
}

/** What listing the models of a connection found. */
export type Listing = Pick<ConnectionRecord, "models" | "error" | "listedAt">;

const LONGEST_PROVIDER = 60;
const LONGEST_NAME = 200;
const LONGEST_WAIT = 86_400;

/**
 * Makes the record that a draft describes. `before` is the record that the draft changes; `fresh` gives the id and
 * the position of a new one. Throws a `FailureError` if the draft cannot be stored.
 */
export function recordFrom(
  draft: ConnectionDraft,
  before: ConnectionRecord | undefined,
  fresh: Pick<ConnectionRecord, "id" | "position">,
): ConnectionRecord {
  const { id, position } = before ?? fresh;
  const baseUrl = normalizeBaseUrl(draft.baseUrl);
  const provider = readName(draft.provider, LONGEST_PROVIDER) || "custom";
  return {
    id,
    position,
    provider,
    baseUrl,
    label: readName(draft.label) || (providerOf(provider)?.name ?? provider),
    keyed: isKeyed(draft, before),
    offered: named(draft.models ?? before?.offered ?? []),
    models: before && !hasMoved(before, baseUrl) ? before.models : [],
    error: null,
    listedAt: 0,
    firstLineTimeout: limitFrom(draft.firstLineTimeout, before?.firstLineTimeout, "Wait for the first word"),
    idleTimeout: limitFrom(draft.idleTimeout, before?.idleTimeout, "Wait in mid-answer"),
  };
}

/**
 * Reads a name as it was typed. One that is too long is refused and not cut: it may hold a key, and half of a key
 * would not be recognised.
 */
export function readName(text: string, longest = LONGEST_NAME): string {
  const name = text.trim();
  return name.length <= longest
    ? name
    : fail("bad_request", `The name is too long. Enter at most ${longest} characters.`);
}

/** A limit in seconds, or null. `field` is what the form calls it. */
function limitFrom(
  typed: number | null | undefined,
  before: number | null | undefined,
  field: string,
): number | null {
  const seconds = typed === undefined ? (before ?? null) : typed;
  if (seconds === null || (seconds >= 1 && seconds <= LONGEST_WAIT)) return seconds;
  return fail("bad_request", `${field}: enter 1 to ${LONGEST_WAIT} seconds, or leave it empty.`);
}

/**
 * Whether the connection has gone to another address, where neither its key nor its models belong. Another path
 * counts: somebody else may answer there.
 */
export const hasMoved = (before: ConnectionRecord, baseUrl: string): boolean => before.baseUrl !== baseUrl;

const isKeyed = ({ key }: ConnectionDraft, before: ConnectionRecord | undefined): boolean =>
  key === undefined ? (before?.keyed ?? false) : readKey(key) !== null;

const named = (models: readonly string[]): string[] =>
  [...new Set(models.map((model) => model.trim()))].filter((model) => model !== "");

/** Reads a key as it was typed or pasted; null if there is none. Throws a `FailureError` if it cannot be a key. */
export function readKey(text: string): string | null {
  const key = text.trim();
  if (key === "") return null;
  // A header cannot carry other characters, and the fetch would fail without saying why.
  const sendable = /^[\x21-\x7e]+$/.test(key);
  return sendable ? key : fail("bad_request", "The key holds characters that no key has. Copy it again.");
}

export interface Choice {
  readonly record: ConnectionRecord;
  /** The model's id as the upstream knows it. */
  readonly model: string;
}

/** Finds the connection that a run means (E2). Throws `connection_unknown` if none fits. */
export function choose(records: readonly ConnectionRecord[], wanted: ModelRef): Choice {
  if (wanted.connection_id !== null) {
    const record = records.find((each) => each.id === wanted.connection_id);
    return record ? { record, model: wanted.id } : fail("connection_unknown");
  }
  return chooseByModel(records, wanted) ?? fail("connection_unknown");
}

/** For a run that names no connection. Its caller wrote the model as a bare id or as `provider/id`. */
function chooseByModel(records: readonly ConnectionRecord[], wanted: ModelRef): Choice | undefined {
  const fitting = records.filter((each) => wanted.provider === null || each.provider === wanted.provider);
  const [only] = fitting.length === 1 ? fitting : [];
  return (
    offering(fitting, (record) => withoutProvider(record, wanted.id)) ??
    offering(fitting, () => wanted.id) ??
    unlisted(fitting, wanted.id) ??
    (only && { record: only, model: withoutProvider(only, wanted.id) ?? wanted.id })
  );
}

function offering(
  records: readonly ConnectionRecord[],
  idFor: (record: ConnectionRecord) => string | null,
): Choice | undefined {
  for (const record of records) {
    const model = idFor(record);
    if (model !== null && record.models.some((each) => each.id === model)) return { record, model };
  }
  return undefined;
}

/** A connection of the provider that is named. Its list lacks the model, but lists can be old. */
function unlisted(records: readonly ConnectionRecord[], id: string): Choice | undefined {
  for (const record of records) {
    const model = withoutProvider(record, id);
    if (model !== null) return { record, model };
  }
  return undefined;
}

function withoutProvider({ provider }: ConnectionRecord, id: string): string | null {
  const prefix = `${provider}/`;
  return id.startsWith(prefix) && id.length > prefix.length ? id.slice(prefix.length) : null;
}
