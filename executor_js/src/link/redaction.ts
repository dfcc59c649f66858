/** Cleans whatever leaves the executor: it replaces secrets, and halves of characters that cannot be stored (E13). */

import type { Connect } from "./transport";

const REDACTED = "[redacted]";

/**
 * Shorter strings stay, because they may be words: a local server's key `none` must not remove that word from
 * answers.
 */
const SHORTEST_SECRET = 8;

export type Clean = <T>(value: T) => T;

/** `secrets` is called for each string. It returns the same array until the secrets change. */
export function cleaner(secrets: () => readonly string[]): Clean {
  let known: readonly string[] | null = null;
  let pattern: RegExp | null = null;
  const cleanText = (text: string): string => {
    const current = secrets();
    if (current !== known) {
      known = current;
      pattern = patternOf(current);
    }
    return wellFormed(pattern ? text.replace(pattern, REDACTED) : text);
  };
  return (value) => mapStrings(value, cleanText);
}

/** Wraps a transport so that all that an executor sends or answers is cleaned. It has no other way to the server. */
export function guarded(connect: Connect, clean: Clean): Connect {
  return (handlers) => {
    const transport = connect({
      opened: () => handlers.opened(),
      closed: () => handlers.closed(),
      refused: (error) => handlers.refused(error),
      received: (message, answer) => handlers.received(message, (value) => answer(clean(value))),
    });
    return {
      open: () => transport.open(),
      close: () => transport.close(),
      emit: (event, payload, answered) => transport.emit(event, clean(payload), answered),
    };
  };
}

function patternOf(secrets: readonly string[]): RegExp | null {
  const forms = new Set(secrets.filter((secret) => secret.length >= SHORTEST_SECRET).flatMap(spellings));
  if (forms.size === 0) return null;
  // The longest comes first, because one secret can be the beginning of another.
  const longestFirst = [...forms].sort((a, b) => b.length - a.length);
  return new RegExp(longestFirst.map(escapeForPattern).join("|"), "g");
}

/** The forms that a secret can have in a line: as it is, in a JSON string, in JSON within JSON, in a URL. */
function spellings(secret: string): string[] {
  const json = insideJson(secret);
  const slashes = json.replaceAll("/", "\\/");
  const ascii = json.replace(/[^\x20-\x7e]/g, unicodeEscape);
  return [secret, json, slashes, ascii, insideJson(json), encodeURIComponent(wellFormed(secret))];
}

const insideJson = (text: string): string => JSON.stringify(text).slice(1, -1);

const unicodeEscape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

const escapeForPattern = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** A backslash escape of JSON: a pair of surrogates, one alone, or any other. */
const JSON_ESCAPE = /\\u(d[89ab][0-9a-f]{2})(\\ud[c-f][0-9a-f]{2})?|\\u(d[c-f][0-9a-f]{2})|\\./gis;

/** Replaces lone surrogates, which the server cannot store, also where they are written as JSON escapes. */
export function wellFormed(text: string): string {
  const units = text.replace(/\p{Surrogate}/gu, "\ufffd");
  if (!/\\ud[89a-f]/i.test(units)) return units;
  return units.replace(JSON_ESCAPE, (found: string, high?: string, low?: string, alone?: string) =>
    (high && !low) || alone ? "\\ufffd" : found,
  );
}

function mapStrings<T>(value: T, map: (text: string) => string): T {
  return mapValue(value, map) as T;
}

function mapValue(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === "string") return map(value);
  if (Array.isArray(value)) return value.map((item) => mapValue(item, map));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapValue(item, map)]));
}
