/** Makes the record of a connection from what a person typed. */

import { normalizeBaseUrl, originOf } from "./base-url";
import type { ConnectionDraft } from "./client";
import { fail } from "./failures";
import { providerOf } from "./providers";
import type { ConnectionRecord } from "./record";

const LONGEST_PROVIDER = 60;
const LONGEST_LABEL = 200;

/** `before` is the record that the draft changes; `fresh` is what a new one is to be. Throws a `FailureError`. */
export function recordFrom(
  draft: ConnectionDraft,
  before: ConnectionRecord | undefined,
  fresh: Pick<ConnectionRecord, "id" | "position">,
): ConnectionRecord {
  const { id, position } = before ?? fresh;
  const baseUrl = normalizeBaseUrl(draft.baseUrl);
  const provider = draft.provider.slice(0, LONGEST_PROVIDER) || "custom";
  return {
    id,
    position,
    provider,
    baseUrl,
    label: draft.label.trim().slice(0, LONGEST_LABEL) || (providerOf(provider)?.name ?? provider),
    keyed: isKeyed(draft, before),
    offered: named(draft.models ?? before?.offered ?? []),
    models: before && !hasMoved(before, baseUrl) ? before.models : [],
    error: null,
    listedAt: 0,
  };
}

/** Whether the connection has gone to another host, where neither its key nor its models belong. */
export const hasMoved = (before: ConnectionRecord, baseUrl: string): boolean =>
  originOf(before.baseUrl) !== originOf(baseUrl);

const isKeyed = ({ key }: ConnectionDraft, before: ConnectionRecord | undefined): boolean =>
  key === undefined ? (before?.keyed ?? false) : readKey(key) !== null;

const named = (models: readonly string[]): string[] =>
  [...new Set(models.map((model) => model.trim()))].filter((model) => model !== "");

/** A key as it was typed or pasted; null if there is none. Throws a `FailureError` if it cannot be one. */
export function readKey(text: string): string | null {
  const key = text.trim();
  if (key === "") return null;
  // A header could not carry anything else, and the fetch would fail without saying why.
  const sendable = /^[\x21-\x7e]+$/.test(key);
  return sendable ? key : fail("bad_request", "The key holds characters that no key has. Copy it again.");
}
