/** The forms in which a secret can stand in a text, such as escaped or in base64 (E13). */

import { wellFormed } from "./well-formed";

/** Every form of a secret. Small and capital letters are not told apart by whoever looks for them. */
export function spellings(secret: string): string[] {
  const bytes = new TextEncoder().encode(wellFormed(secret));
  return [
    ...new Set([
      secret,
      ...inJson(secret),
      ...inUrls(secret, bytes),
      ...inMarkup(secret),
      ...inBase64(bytes),
    ]),
  ]
    .concat(hexOf(bytes).join(""))
    .filter((form) => form !== "");
}

/** As a JSON string, as JSON within JSON, and as writers of JSON escape more than they must. */
function inJson(secret: string): string[] {
  const json = insideJson(secret);
  const every = written(secret, /[\s\S]/g, unicodeEscape);
  return [
    json,
    insideJson(json),
    json.replaceAll("/", "\\/"),
    written(json, /[^\x20-\x7e]/g, unicodeEscape),
    written(secret, /[^\w.~!*:;, -]/g, unicodeEscape),
    every,
    insideJson(every),
  ];
}

/** In an address: what must be escaped, everything that may be, every byte, and twice. */
function inUrls(secret: string, bytes: Uint8Array): string[] {
  const component = encodeURIComponent(wellFormed(secret));
  return [
    component,
    encodeURI(wellFormed(secret)),
    written(component, /[!'()*~._-]/g, (mark) => `%${hex(mark.charCodeAt(0))}`),
    encodeURIComponent(component),
    hexOf(bytes)
      .map((byte) => `%${byte}`)
      .join(""),
    hexOf(bytes)
      .map((byte) => `\\x${byte}`)
      .join(""),
  ];
}

const HTML: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** In HTML, and in Markdown, where a backslash stands before a mark. */
function inMarkup(secret: string): string[] {
  const html = written(secret, /[&<>"]/g, (mark) => HTML[mark] ?? mark);
  return [
    html,
    ...["&#39;", "&#x27;", "&#039;", "&apos;"].map((quote) => html.replaceAll("'", quote)),
    written(secret, /[\s\S]/gu, (letter) => `&#${letter.codePointAt(0)};`),
    written(secret, /[\s\S]/gu, (letter) => `&#x${letter.codePointAt(0)?.toString(16)};`),
    written(secret, /[\\`*_~]/g, "\\$&"),
    written(secret, /[^\w\s]/g, "\\$&"),
  ];
}

/**
 * Three letters of what is encoded become four, so that a secret has three forms, by where it stands in them. Where
 * other bytes may surround it, only the letters are looked for that depend on the secret alone.
 */
function inBase64(bytes: Uint8Array): string[] {
  const forms = [0, 1, 2].flatMap((before) => {
    const binary = "\0".repeat(before) + Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
    const padded = btoa(binary).slice(Math.ceil((before * 8) / 6));
    const atEnd = padded.replace(/=+$/, "");
    const inside = padded === atEnd ? atEnd : atEnd.slice(0, -1);
    return [padded, atEnd, inside];
  });
  return forms.flatMap((form) => [form, form.replaceAll("+", "-").replaceAll("/", "_")]);
}

const insideJson = (text: string): string => JSON.stringify(text).slice(1, -1);

const unicodeEscape = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

const hexOf = (bytes: Uint8Array): string[] => Array.from(bytes, hex);

const written = (text: string, what: RegExp, how: string | ((found: string) => string)): string =>
  typeof how === "string" ? text.replace(what, how) : text.replace(what, how);
