/** What the form of a connection holds, and how it becomes the draft that the executor is given: pure. */

import {
  CATALOG,
  type ConnectionDraft,
  type ConnectionState,
  isBaseUrl,
  type Provider,
} from "../../src/index";

export interface Fields {
  readonly provider: string;
  readonly baseUrl: string;
  readonly label: string;
  readonly key: string;
  /** Model ids, separated by commas: for a server that cannot list its own. */
  readonly models: string;
  /** Seconds as they were typed; empty means the server's default. */
  readonly firstLineTimeout: string;
  readonly idleTimeout: string;
}

export const findProvider = (id: string): Provider | undefined =>
  CATALOG.find((provider) => provider.id === id);

/** What the form shows at first. */
export function fieldsOf(connection: ConnectionState | null): Fields {
  const provider = connection ? findProvider(connection.provider) : CATALOG[0];
  return {
    provider: connection?.provider ?? provider?.id ?? "",
    baseUrl: connection?.baseUrl ?? provider?.base_url ?? "",
    label: connection?.label ?? "",
    key: "",
    models: "",
    firstLineTimeout: String(connection?.firstLineTimeout ?? ""),
    idleTimeout: String(connection?.idleTimeout ?? ""),
  };
}

/**
 * What becomes of the key of a connection: there is none yet, it is kept, or it is left behind, because it was entered
 * for another base URL.
 */
export function storedKey(fields: Fields, connection: ConnectionState | null): "none" | "kept" | "left" {
  if (!connection?.hasKey) return "none";
  return isBaseUrl(connection.baseUrl, fields.baseUrl) ? "kept" : "left";
}

/** What the executor is told. A key that was not typed is left as it is stored, unless it is left behind. */
export function draftOf(fields: Fields, connection: ConnectionState | null): ConnectionDraft {
  const models = fields.models.split(/[\s,]+/).filter(Boolean);
  const label = fields.label.trim() || (findProvider(fields.provider)?.name ?? "");
  return {
    ...(connection ? { id: connection.id } : {}),
    provider: fields.provider,
    label,
    baseUrl: fields.baseUrl.trim(),
    ...(fields.key === "" && connection && storedKey(fields, connection) !== "left"
      ? {}
      : { key: fields.key.trim() }),
    ...(models.length > 0 ? { models } : {}),
    firstLineTimeout: secondsOf(fields.firstLineTimeout),
    idleTimeout: secondsOf(fields.idleTimeout),
  };
}

/** What is not a number becomes NaN, which the executor refuses with a sentence. */
const secondsOf = (text: string): number | null => (text.trim() === "" ? null : Number(text));
