import { beforeEach, describe, expect, it } from "vitest";
import type { LineRedaction } from "../src/link/line-redaction";
import { Redaction } from "../src/link/redaction";
import { canary, type Form, formsOf } from "./kit/secrets";

const SECRET = canary();
/** With all that is written in another way somewhere. */
const MARKED = `${canary(12, 2)}/+"\\<&>'_-*ÿé~?`;
const GONE = "[redacted]";

type Delta = Readonly<Record<string, unknown>>;

const line = (delta: Delta, index = 0): string =>
  `data: ${JSON.stringify({ id: "c-1", choices: [{ index, delta, finish_reason: null }] })}`;
const content = (text: string): string => line({ content: text });
const reasoning = (text: string): string => line({ reasoning_content: text });
const tool = (index: number, text: string): string =>
  line({ tool_calls: [{ index, function: { arguments: text } }] });
const USAGE = 'data: {"choices": [], "usage": {"total_tokens": 1.0}}';
const DONE = "data: [DONE]";

/** The text of an answer, put together as the server does it. */
function folded(
  lines: readonly string[],
  read: (delta: Record<string, never>) => unknown,
  choice = 0,
): string {
  return lines
    .filter((each) => each.startsWith("data: {"))
    .flatMap((each) => JSON.parse(each.slice(6)).choices)
    .filter((each) => each.index === choice)
    .map((each) => read(each.delta) ?? "")
    .join("");
}
const contentOf = (lines: readonly string[], choice = 0) => folded(lines, (delta) => delta.content, choice);

/** Fails if six or more characters of the secret are left, which is more than may leave before a line is held. */
function expectGone(text: string, { core }: Form): void {
  const left = text.toLowerCase().split(GONE);
  const small = core.toLowerCase();
  let found = "";
  for (let at = 0; at + 6 <= small.length; at += 1) {
    const part = small.slice(at, at + 6);
    if (left.some((each) => each.includes(part))) found = part;
  }
  expect(`${found} in ${text}`).toBe(` in ${text}`);
  expect(left.length).toBeGreaterThan(1);
}

function cutAt(text: string, ...cuts: number[]): string[] {
  return [0, ...cuts].map((cut, index) => text.slice(cut, cuts[index] ?? text.length));
}

describe("the lines of an attempt", () => {
  let secrets: readonly string[];
  let redaction: LineRedaction;

  const fresh = (...known: string[]) => {
    secrets = known;
    redaction = new Redaction(() => secrets).lines();
  };
  const all = (lines: readonly string[]): string[] => [
    ...lines.flatMap((each) => redaction.take(each)),
    ...redaction.rest(),
  ];
  beforeEach(() => fresh(SECRET));

  describe.each(formsOf(SECRET))("[E13] with the secret as $name", (form) => {
    it("hold none of it, wherever it is cut in two", () => {
      for (let cut = 1; cut < form.text.length; cut += 1) {
        fresh(SECRET);
        const [head = "", tail = ""] = cutAt(form.text, cut);
        const lines = all([content(`a ${head}`), content(`${tail} b`), DONE]);
        expect(lines).toHaveLength(3);
        expect(contentOf(lines)).toMatch(/^a .* b$/);
        expectGone(contentOf(lines), form);
      }
    });

    it("hold none of it, wherever it is cut in three", () => {
      const step = Math.ceil(form.text.length / 20);
      for (let one = 1; one < form.text.length; one += step) {
        for (let two = one; two < form.text.length; two += step) {
          fresh(SECRET);
          const [head = "", middle = "", tail = ""] = cutAt(form.text, one, two);
          const lines = all([content(`a ${head}`), content(middle), reasoning("-"), content(`${tail} b`)]);
          expect(lines[2]).toBe(reasoning("-"));
          expectGone(contentOf(lines), form);
        }
      }
    });

    it("hold none of it when each character comes alone", () => {
      const lines = all([content("a "), ...Array.from(form.text, content), content(" b")]);
      expect(contentOf(lines)).toMatch(/^a .* b$/);
      expectGone(contentOf(lines), form);
    });
  });

  it.each(formsOf(MARKED))("[E13] a secret with many marks is found as $name", (form) => {
    for (let cut = 1; cut < form.text.length; cut += 1) {
      fresh(MARKED);
      const lines = all([content(`a ${form.text.slice(0, cut)}`), content(`${form.text.slice(cut)} b`)]);
      expectGone(contentOf(lines), form);
    }
  });

  it("[E13] the word for the secret stands where it stood, in the line in which it began", () => {
    const [head = "", middle = "", tail = ""] = cutAt(SECRET, 8, 16);
    expect(redaction.take(content(`Your key ${head}`))).toEqual([]);
    expect(redaction.take(content(middle))).toEqual([]);
    expect(redaction.take(content(`${tail} is wrong`))).toEqual([
      content(`Your key ${GONE}`),
      content(""),
      content(" is wrong"),
    ]);
  });

  it("[E13] what left before six characters were there stays, and the rest goes", () => {
    expect(redaction.take(content(SECRET.slice(0, 5)))).toHaveLength(1);
    expect(contentOf(all([content(`${SECRET.slice(5)}.`)]))).toBe(`${GONE}.`);
  });

  it("[E13] several secrets and one that begins like another are each replaced once", () => {
    const longer = `${SECRET}${canary(12, 3)}`;
    fresh(SECRET, longer);
    const text = `${SECRET} ${longer} ${SECRET}${SECRET}`;
    for (let cut = 1; cut < text.length; cut += 1) {
      fresh(SECRET, longer);
      const lines = all([content(text.slice(0, cut)), content(text.slice(cut))]);
      expectGone(contentOf(lines), { name: "", text: longer, core: longer });
      expect(contentOf(lines).replaceAll(GONE, "")).toMatch(/^.{0,5} .{0,5} .{0,10}$/);
    }
  });

  it("[D2] lines without a secret pass at once, byte for byte", () => {
    const lines = [
      'data:{"choices" : [{"index":0,"delta":{"content":"\\u00e9 zz- zz-A \\/"}}], "created": 1.50}',
      content(SECRET.slice(0, 5)),
      content("and zz-"),
      tool(0, '{"a":'),
      reasoning(SECRET.slice(0, 4)),
      USAGE,
      ": a comment",
      "noise",
      "data: [1, 2]",
      "",
      DONE,
    ];
    for (const each of lines) expect(redaction.take(each)).toEqual([each]);
    expect(redaction.rest()).toEqual([]);
  });

  it("[D2] a line is held only until the next piece of its text, and then passes byte for byte", () => {
    for (let most = 6; most < 17; most += 1) {
      const held = `data:  {"choices":[{"index":0,"delta":{"content":"\\u0061 ${SECRET.slice(0, most)}"}}]}`;
      expect(redaction.take(held)).toEqual([]);
      expect(redaction.take(USAGE)).toEqual([]);
      const next = content(" is how it begins");
      expect(redaction.take(next)).toEqual([held, USAGE, next]);
    }
  });

  it("[D2] any text without the secret is the same afterwards, however it is cut", () => {
    const text = `${SECRET.slice(0, 12)}${SECRET.slice(0, 15)}. ${SECRET.slice(3)} zz-zz-${SECRET.slice(0, 9)}`;
    for (let one = 1; one < text.length; one += 1) {
      for (let two = one; two < text.length; two += 3) {
        fresh(SECRET);
        const lines = cutAt(text, one, two).map(content);
        expect(all(lines)).toEqual(lines);
      }
    }
  });

  it("[E13] each text is joined by itself: of each choice, tool call and kind, however they alternate", () => {
    const makers = [
      content,
      reasoning,
      (text: string) => tool(0, text),
      (text: string) => tool(1, text),
      (text: string) => line({ content: text }, 1),
    ];
    for (let cut = 6; cut < SECRET.length; cut += 1) {
      fresh(SECRET);
      const lines = all([
        ...makers.map((make, index) => make(`${index} ${SECRET.slice(0, cut)}`)),
        ...makers.map((make, index) => make(`${SECRET.slice(cut)} ${index}`)),
      ]);
      expect(lines).toEqual([
        ...makers.map((make, index) => make(`${index} ${GONE}`)),
        ...makers.map((make, index) => make(` ${index}`)),
      ]);
    }
  });

  it("[E13] pieces of different texts do not make a secret", () => {
    const [head = "", tail = ""] = cutAt(SECRET, 10);
    const lines = [content(head), reasoning(tail), line({ content: tail }, 1), content(".")];
    expect(all(lines)).toEqual(lines);
  });

  it("[E13] a content of parts is one text, also with a content that is a string", () => {
    const parts = (text: string) => line({ content: [{ type: "text", text }] });
    const [head = "", middle = "", tail = ""] = cutAt(SECRET, 8, 16);
    expect(all([parts(head), content(middle), parts(tail)])).toEqual([parts(GONE), content(""), parts("")]);
  });

  it("[E13] a line is cleaned by itself everywhere else: names, ids, errors, and what is no JSON", () => {
    const said = { error: { message: `no ${SECRET}`, [SECRET]: [SECRET, 1, null] }, id: SECRET };
    expect(all([`data: ${JSON.stringify(said)}`, `: ${SECRET}`, `data: {${SECRET}`])).toEqual([
      `data: ${JSON.stringify({ error: { message: `no ${GONE}`, [GONE]: [GONE, 1, null] }, id: GONE })}`,
      `: ${GONE}`,
      `data: {${GONE}`,
    ]);
    const escaped = Array.from(SECRET, (unit) => `\\u00${unit.charCodeAt(0).toString(16)}`).join("");
    expect(all([`data: {"id":"${escaped}"}`])).toEqual([`data: {"id":"${GONE}"}`]);
    const deep = `data: {"a":${"[".repeat(5_000)}"${SECRET}"${"]".repeat(5_000)}}`;
    expect(all([deep])).toEqual([deep.replace(SECRET, GONE)]);
  });

  it("[E13] lines that are held at the end leave as they are, unless most of a secret is in them", () => {
    const short = [content(SECRET.slice(0, 12)), USAGE];
    expect(all(short)).toEqual(short);
    fresh(SECRET);
    expect(all([content(`a ${SECRET.slice(0, 12)}`), content(SECRET.slice(12, 18))])).toEqual([
      content(`a ${GONE}`),
      content(""),
    ]);
  });

  it("[E13] no line waits behind more than 32 others, and a secret that goes on later is still taken out", () => {
    const [head = "", tail = ""] = cutAt(SECRET, 10);
    const others = Array.from({ length: 40 }, (_, count) => tool(0, `${count} `));
    expect(redaction.take(content(head))).toEqual([]);
    const passed = others.map((each) => redaction.take(each));
    expect(passed.slice(0, 32).flat()).toEqual([]);
    expect(passed[32]).toEqual([content(head), ...others.slice(0, 33)]);
    expect(passed.slice(33).flat()).toEqual(others.slice(33));
    expect(all([content(`${tail}.`)])).toEqual([content(`${GONE}.`)]);
  });

  it("[E13] does not hold more than 1 MiB", () => {
    const long = tool(0, "x".repeat(400_000));
    expect(redaction.take(content(SECRET.slice(0, 10)))).toEqual([]);
    expect(redaction.take(long)).toEqual([]);
    expect(redaction.take(long)).toEqual([]);
    expect(redaction.take(long)).toHaveLength(4);
  });

  it("[E13] follows the vault, but not while a line is held", () => {
    const other = canary(24, 7);
    expect(redaction.take(content(SECRET.slice(0, 10)))).toEqual([]);
    secrets = [other];
    expect(contentOf(all([content(SECRET.slice(10))]))).toBe(GONE);
    expect(contentOf(all([content(`${other} ${SECRET}`)]))).toBe(`${GONE} ${SECRET}`);
  });

  it("secrets of fewer than eight characters are words, and stay", () => {
    fresh("sk-1234");
    expect(redaction.take(content("sk-1234"))).toEqual([content("sk-1234")]);
  });
});
