/** The small parts that have no state. */

import { describe, expect, it } from "vitest";
import { uuid } from "../lib/ids";
import { ago, day } from "../lib/time";
import { linkCode, ownImage, safeLink, shortUrl, signInCode } from "../lib/urls";
import { htmlAsText } from "../markdown/html-as-text";

describe("ids", () => {
  it("[R6] are version 4 UUIDs, made without randomUUID", () => {
    const made = new Set(Array.from({ length: 100 }, uuid));
    expect(made.size).toBe(100);
    for (const id of made)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe("addresses from a model", () => {
  it("[S4] only images that are here already are loaded", () => {
    expect(["data:image/png;base64,AA", "/uploads/a.png", "/uploads/1/b-c.webp"].every(ownImage)).toBe(true);
    const others = [
      "https://x.test/a.png",
      "//x.test/a.png",
      "data:image/svg+xml,<svg/>",
      "javascript:0",
      "blob:x",
      "",
      "/",
      "/api/auth/me",
      "/uploads/",
      "/uploads/../api/auth/me",
      "/uploads/a/../../api/auth/me",
      "/uploads/%2e%2e/api/auth/me",
      "/uploads/.%2e/api/auth/me",
      "/uploads/..\\api",
      "/uploads//x.test/a.png",
      "/uploads/a.png?x",
      "uploads/a.png",
      "/UPLOADS/a.png",
      "/uploads/a.png\n/../../api",
    ];
    expect(others.some(ownImage)).toBe(false);
  });

  it("follows only what is safe to follow", () => {
    expect(safeLink("https://x.test")).toBe("https://x.test");
    for (const bad of ["javascript:alert(1)", "data:text/html,x", "//x.test", undefined, "vbscript:x"]) {
      expect(safeLink(bad)).toBeNull();
    }
    expect(shortUrl("https://www.x.test/long/path")).toBe("x.test");
    for (const bad of ["https://", "https://[", "http://x.test:99999/"]) expect(safeLink(bad)).toBeNull();
  });

  it("never follows a sign-in link, however it is written", () => {
    const links = [
      "#signin=abc-1_Z",
      "/#signin=abc",
      "/c/7?x=1#signin=abc",
      "http://127.0.0.1:8000/#signin=abc",
      "https://other.test/#signin=abc",
      "/#sign\nin=abc",
      "/#\tsignin=abc ",
    ];
    for (const link of links) expect([link, safeLink(link)]).toEqual([link, null]);
    for (const fine of ["#fn-1", "/c/7#top", "https://x.test/#signing=1", "#signin", "#%73ignin=abc"]) {
      expect(safeLink(fine)).toBe(fine);
    }
  });
});

describe("sign-in links", () => {
  it("are recognised by their form, and nothing else is", () => {
    expect(linkCode("#signin=abc-1_Z")).toBe("abc-1_Z");
    const others = [
      "",
      "#",
      "#abc-1",
      "#signin=",
      "#signin=a b",
      "#signin=abc&x=1",
      "#%73ignin=abc",
      "#x#signin=abc",
    ];
    for (const other of [...others, "#user-content-fn-1", "#SIGNIN=abc"]) expect(linkCode(other)).toBeNull();
  });

  it("can be pasted, as can those of older versions and bare codes", () => {
    expect(signInCode(" http://127.0.0.1:8000/#signin=abc-1 ")).toBe("abc-1");
    expect(signInCode("http://127.0.0.1:8000/#abc-1")).toBe("abc-1");
    expect(signInCode("signin=abc-1")).toBe("abc-1");
    expect(signInCode("abc-1")).toBe("abc-1");
  });
});

describe("times", () => {
  it("are said in few words", () => {
    const now = new Date(2026, 4, 10, 12);
    const at = (hours: number): string => new Date(now.getTime() - hours * 3_600_000).toISOString();
    expect(ago(at(3), now.getTime())).toBe("3 hours ago");
    expect(ago(at(0), now.getTime())).toBe("just now");
    const headings = [1, 24, 72, 400, 2000].map((hours) => day(at(hours), now));
    expect(headings).toEqual(["Today", "Yesterday", "Previous 7 days", "Previous 30 days", "Older"]);
  });
});

describe("HTML in Markdown", () => {
  it("is shown as text, and `<br>` breaks the line", () => {
    const tree = {
      type: "root",
      children: [
        { type: "html", value: "<script>x</script>" },
        { type: "html", value: "<br/>" },
      ],
    };
    htmlAsText()(tree);
    expect(tree.children.map((child) => child.type)).toEqual(["text", "break"]);
  });
});
