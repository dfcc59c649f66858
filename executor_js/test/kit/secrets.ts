/** Secrets for tests, made as they are needed, and the forms in which an upstream may quote one. */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** A secret that looks like no real one, and has no part twice. */
export const canary = (length = 24, seed = 1): string =>
  `zz-${Array.from({ length: length - 3 }, (_, index) => LETTERS[(index * 17 + seed * 5) % LETTERS.length]).join("")}`;

const each = (text: string, how: (code: number) => string): string =>
  Array.from(Buffer.from(text), (byte) => how(byte)).join("");

const letters = (text: string, how: (code: number) => string): string =>
  Array.from(text, (letter) => how(letter.charCodeAt(0))).join("");

const hex = (byte: number): string => byte.toString(16).padStart(2, "0");

export interface Form {
  readonly name: string;
  readonly text: string;
  /** The part of the text that depends on nothing but the secret. */
  readonly core: string;
}

const form = (name: string, text: string): Form => ({ name, text, core: text });

/** Base64 of the secret and of what stands around it. */
function inBase64(before: string, secret: string, after: string): Form {
  const name = `base64 between '${before}' and '${after}'`;
  const text = Buffer.from(before + secret + after).toString("base64");
  const bits = [before, before + secret].map((part) => Buffer.byteLength(part) * 8);
  return { name, text, core: text.slice(Math.ceil((bits[0] ?? 0) / 6), Math.floor((bits[1] ?? 0) / 6)) };
}

const changed = ({ name, text, core }: Form, how: string, change: (text: string) => string): Form => ({
  name: `${name}, ${how}`,
  text: change(text),
  core: change(core),
});

/** The forms in which an upstream may quote a secret. */
export function formsOf(secret: string): Form[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const encoded = ["", "u", "us"].flatMap((before) =>
    ["", ": more", "\u0000"].map((after) => inBase64(before, secret, after)),
  );
  return [
    form("plain", secret),
    form("capital letters", secret.toUpperCase()),
    form("small letters", secret.toLowerCase()),
    form("hex", each(secret, hex)),
    form("HEX", each(secret, hex).toUpperCase()),
    form("JSON", json),
    form("JSON in JSON", JSON.stringify(json).slice(1, -1)),
    form("JSON with escaped slashes", json.replaceAll("/", "\\/")),
    form(
      "\\u escapes",
      letters(secret, (code) => `\\u00${hex(code)}`),
    ),
    form(
      "\\x escapes",
      each(secret, (byte) => `\\x${hex(byte)}`),
    ),
    form("an address", encodeURIComponent(secret)),
    form("an address within an address", encodeURIComponent(encodeURIComponent(secret))),
    form(
      "an address, every letter",
      each(secret, (byte) => `%${hex(byte)}`),
    ),
    form(
      "an address, every LETTER",
      each(secret, (byte) => `%${hex(byte).toUpperCase()}`),
    ),
    form(
      "HTML, every letter",
      letters(secret, (code) => `&#${code};`),
    ),
    form(
      "HTML, every letter in hex",
      letters(secret, (code) => `&#x${hex(code)};`),
    ),
    form("backslashes", secret.replace(/[^\w]/g, "\\$&")),
    ...encoded,
    ...encoded.map((one) => changed(one, "without padding", (text) => text.replace(/=+$/, ""))),
    ...encoded.map((one) =>
      changed(one, "url-safe", (text) => text.replaceAll("+", "-").replaceAll("/", "_")),
    ),
  ];
}
