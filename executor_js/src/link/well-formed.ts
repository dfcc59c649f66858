/** Makes strings well formed: half of a character can neither be stored nor sent (E13). */

/** A backslash escape of JSON: a pair of surrogates, one alone, or any other. */
const JSON_ESCAPE = /\\u(d[89ab][0-9a-f]{2})(\\ud[c-f][0-9a-f]{2})?|\\u(d[c-f][0-9a-f]{2})|\\./gis;

/** Replaces lone surrogates, which the server cannot store, also where they are written as JSON escapes. */
export function wellFormed(text: string): string {
  const units = text.replace(/\p{Surrogate}/gu, "\ufffd");
  if (!units.includes("\\u") || !/\\ud[89a-f]/i.test(units)) return units;
  return units.replace(JSON_ESCAPE, (found: string, high?: string, low?: string, alone?: string) =>
    (high && !low) || alone ? "\\ufffd" : found,
  );
}
