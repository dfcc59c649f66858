import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Redaction } from "../src/link/redaction";
import { wellFormed } from "../src/link/well-formed";

// Read as a file: a bundler's JSON cannot hold half a character.
const vectors: readonly { readonly text: string; readonly clean: string }[] = JSON.parse(
  readFileSync(new URL("../../tests/vectors/well-formed.json", import.meta.url), "utf8"),
);

const CANARY = 'canary/0123456789"é\\end';
let secrets: readonly string[] = [];
const { clean } = new Redaction(() => secrets);

describe("what leaves", () => {
  it("[E13] holds no secret, however it is written", () => {
    secrets = ["plain-canary-0001", CANARY];
    const inside = JSON.stringify(CANARY).slice(1, -1);
    const spellings = [
      CANARY,
      inside,
      inside.replaceAll("/", "\\/"),
      inside.replace("é", "\\u00e9"),
      JSON.stringify(inside).slice(1, -1),
      encodeURIComponent(CANARY),
    ];
    for (const spelling of spellings) expect(clean(`a ${spelling} b`)).toBe("a [redacted] b");
    expect(clean({ list: [{ text: "plain-canary-0001!" }], n: 1, none: null, yes: true })).toEqual({
      list: [{ text: "[redacted]!" }],
      n: 1,
      none: null,
      yes: true,
    });
  });

  it("[E13] follows the vault when its secrets change", () => {
    secrets = [];
    expect(clean("later-canary-0002")).toBe("later-canary-0002");
    secrets = ["later-canary-0002", "later-canary-0002-longer"];
    expect(clean("later-canary-0002-longer")).toBe("[redacted]");
    secrets = [];
    expect(clean("later-canary-0002")).toBe("later-canary-0002");
  });

  it("leaves a word alone that a local server has as its key", () => {
    secrets = ["none", "ollama"];
    expect(clean("none of the ollama models")).toBe("none of the ollama models");
  });

  it.each(vectors.map(({ text, clean }) => [text, clean]))(
    "[E13] is well formed: %j is %j",
    (text, expected) => {
      expect(wellFormed(text)).toBe(expected);
    },
  );
});
