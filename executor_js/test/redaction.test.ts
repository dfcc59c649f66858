import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fail } from "../src/failures";
import { MemoryLink } from "../src/link/memory";
import { excerpt, guarded, Redaction } from "../src/link/redaction";
import { wellFormed } from "../src/link/well-formed";
import { canary } from "./kit/secrets";

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

describe("a secret that is in use", () => {
  it("[E13] is known until the work is done, and not in its result or its failure", async () => {
    secrets = [];
    const own = canary();
    let finish = (_text: string): void => {};
    const working = new Redaction(() => secrets);
    const work = working.during(own, () => new Promise<string>((resolve) => (finish = resolve)));
    const other = working.during(own, async () => fail("upstream_error", `No ${own}`));
    await expect(other).rejects.toMatchObject({ failure: { message: "No [redacted]" } });
    expect(working.clean({ [own]: own })).toEqual({ "[redacted]": "[redacted]" });
    finish(`It is ${own}`);
    expect(await work).toBe("It is [redacted]");
    expect(working.clean(own)).toBe(own);
    await expect(working.during(own, () => Promise.reject(new Error(own)))).rejects.toThrow("[redacted]");
  });
});

describe("the link", () => {
  it("[E13] cleans all that is sent and answered, but for the lines, which are clean already", () => {
    secrets = [canary()];
    const [secret] = secrets;
    const link = new MemoryLink(() => {});
    const transport = guarded(
      link.connect,
      clean,
    )({
      opened: () => {},
      closed: () => {},
      refused: () => {},
      received: (_message, answer) => answer({ error: secret }),
    });
    transport.open();
    transport.emit(
      "channel",
      { index: 0, lines: ["as it is"], finish: { error: { message: secret } } },
      () => {},
    );
    transport.emit("executor:ready", { name: secret, connections: [{ label: secret }] }, () => {});
    link.send({ type: "executor:replaced", data: {} });
    expect(link.bytes.map((each) => JSON.parse(each))).toEqual([
      { index: 0, lines: ["as it is"], finish: { error: { message: "[redacted]" } } },
      { name: "[redacted]", connections: [{ label: "[redacted]" }] },
      { error: "[redacted]" },
    ]);
    secrets = ["as it is"];
    transport.emit("channel", { lines: ["as it is"] }, () => {});
    expect(link.bytes.at(-1)).toBe('{"lines":["as it is"]}');
  });
});

describe("a text of somebody else", () => {
  it("[E13] is cut after it was cleaned, and never through a character", () => {
    secrets = [canary()];
    const cut = (most: number) => excerpt(`ab🙂${secrets[0]}🙂`, most, clean);
    expect([3, 4, 8, 15, 16, 100].map(cut)).toEqual([
      "ab",
      "ab🙂",
      "ab🙂[red",
      "ab🙂[redacted]",
      "ab🙂[redacted]🙂",
      "ab🙂[redacted]🙂",
    ]);
  });

  /** Whoever cuts text in another file must take `excerpt`, or say here why nobody else wrote it. */
  const CUTS = {
    "backlog.ts": ["return this.lines.slice(0, count);"],
    "dialects/openai.ts": ["return [...known.values()].slice(0, MAX_MODELS);"],
    "hosts/announcement.ts": [
      "const heads = connections.slice(0, MAX_CONNECTIONS).map((connection) => headOf(connection, clean));",
    ],
    "vault/connection.ts": [
      "return id.startsWith(prefix) && id.length > prefix.length ? id.slice(prefix.length) : null;",
    ],
  };

  it("[E13] is cut nowhere else", () => {
    const source = new URL("../src/", import.meta.url);
    const files = readdirSync(source, { recursive: true, encoding: "utf8" });
    const cuts = files
      .filter((name) => name.endsWith(".ts") && !name.endsWith(".gen.ts") && !name.startsWith("link/"))
      .map((name) => [name, cutsIn(readFileSync(new URL(name, source), "utf8"))] as const)
      .filter(([, lines]) => lines.length > 0);
    expect(Object.fromEntries(cuts)).toEqual(CUTS);
  });

  const cutsIn = (text: string): string[] =>
    text
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => /\.(slice|substring|substr)\(/.test(line));
});
