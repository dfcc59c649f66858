/** Colouring code that grows. */

import { describe, expect, it } from "vitest";
import { grammarOf } from "../markdown/grammars";
import { Highlighter, type Lines } from "../markdown/highlighter";

const CODE = 'def f(x: int) -> str:\n    """Two\n    lines."""\n    return f"{x}"  # end\n\nprint(f(3))';
const plain = (lines: Lines): string =>
  lines.map((line) => line.map((piece) => piece.text).join("")).join("\n");

describe("code", () => {
  it("has the same colours whether it came at once or letter by letter", async () => {
    const whole = (await Highlighter.load("python")).highlight(CODE);
    const growing = await Highlighter.load("python");
    let lines: Lines = [];
    for (let end = 1; end <= CODE.length; end += 1) {
      lines = growing.highlight(CODE.slice(0, end));
      expect(plain(lines).trimEnd()).toBe(CODE.slice(0, end).trimEnd());
    }
    expect(lines).toEqual(whole);
  });

  it("keeps the lines that were read, and begins again for other code", async () => {
    const highlighter = await Highlighter.load("python");
    const before = highlighter.highlight("a = 1\nb = 2");
    const after = highlighter.highlight("a = 1\nb = 2\nc");
    expect(after[0]).toBe(before[0]);
    expect(plain(highlighter.highlight("x = 3"))).toBe("x = 3");
  });

  it("knows languages by their usual names", () => {
    expect(["py", "JavaScript", "sh", "c++", "text", "constructor"].map(grammarOf)).toEqual([
      "python",
      "typescript",
      "shellscript",
      "cpp",
      null,
      null,
    ]);
  });
});
