/** How events become what is shown. */

import { describe, expect, it } from "vitest";
import {
  activeRuns,
  appendCitations,
  appendTools,
  branch,
  type ChatView,
  fold,
  fromSnapshot,
  headIsHere,
  withEarlier,
} from "../viewer/chat-view";
import { chat, delta, event, message, run, snapshot } from "./fixtures";

const start = (): ChatView => fromSnapshot(snapshot(), 5);
const ids = (view: ChatView): string[] => branch(view).map((one) => one.id);

describe("a chat's view", () => {
  it("[V1] a snapshot shows the line that ends at the head, with its partial text and its runs", () => {
    const view = start();
    expect(ids(view)).toEqual(["u", "a"]);
    expect(activeRuns(view).map((one) => one.id)).toEqual(["r"]);
    expect(view.seq).toBe(5);
  });

  it("[V2] a delta appends text, thoughts, images, sources and tool calls to its message only", () => {
    const added = event(6, {
      kind: "delta",
      run_id: "r",
      message_id: "a",
      content: "He",
      reasoning: "hm",
      images: ["/uploads/x.png"],
      citations: [{ url: "https://a.test", title: "A" }],
      tool_calls: [{ index: 0, id: "t", name: "find", arguments: '{"q"' }],
    });
    const before = start();
    const view = fold(fold(before, added), delta(7, "llo"));
    expect(view.messages.a).toMatchObject({
      content: "Hello",
      reasoning: "hm",
      images: ["/uploads/x.png"],
      citations: [{ url: "https://a.test", title: "A" }],
      tool_calls: [{ index: 0, id: "t", name: "find", arguments: '{"q"' }],
    });
    expect(view.messages.u).toBe(before.messages.u);
    expect(before.messages.a?.content).toBe("");
  });

  it("[V2] a message is shown as it is now, and a delta of a message that is not here changes nothing", () => {
    const done = message("a", "u", { role: "assistant", content: "All of it." });
    const view = fold(
      fold(start(), event(6, { kind: "message", message: done })),
      delta(7, "x", "elsewhere"),
    );
    expect(view.messages.a).toBe(done);
    expect(view.seq).toBe(7);
  });

  it("[V2] a new sibling is known to all its siblings, and the head says which of them is shown", () => {
    const other = message("b", "u", { role: "assistant" });
    let view = fold(start(), event(6, { kind: "message", message: other }));
    expect(ids(view)).toEqual(["u", "a"]);
    view = fold(view, event(7, { kind: "chat", chat: chat({ head_id: "b" }) }));
    expect(ids(view)).toEqual(["u", "b"]);
    expect(view.siblings.a).toEqual(["a", "b"]);
    expect(view.siblings.b).toEqual(["a", "b"]);
    expect(activeRuns(view)).toEqual([]);
  });

  it("[V2] removed messages are gone from the line and from their siblings", () => {
    let view = fold(start(), event(6, { kind: "message", message: message("b", "u") }));
    view = fold(view, event(7, { kind: "removed", message_ids: ["a"] }));
    view = fold(view, event(8, { kind: "chat", chat: chat({ head_id: "b" }) }));
    expect(ids(view)).toEqual(["u", "b"]);
    expect(view.siblings.b).toEqual(["b"]);
  });

  it("[V2] a run that ended is not active any more", () => {
    const view = fold(start(), event(6, { kind: "run", run: run("r", "a", { state: "done" }) }));
    expect(activeRuns(view)).toEqual([]);
  });

  it("[V1] a head on a branch that is not here needs a snapshot; older messages that come later do not", () => {
    const view = start();
    expect(headIsHere(view)).toBe(true);
    expect(headIsHere(fold(view, event(6, { kind: "chat", chat: chat({ head_id: "far" }) })))).toBe(false);
    const late = fromSnapshot(snapshot({ messages: [message("a", "u")], earlier: true }), 5);
    expect(headIsHere(late)).toBe(true);
    const whole = withEarlier(late, [message("u", null)]);
    expect(ids(whole)).toEqual(["u", "a"]);
    expect(whole.earlier).toBe(false);
  });
});

describe("what is appended", () => {
  it("grows each tool call by its index, and keeps the first name and id", () => {
    const tools = appendTools(
      [{ index: 1, id: "b", name: "two", arguments: "{" }],
      [
        { index: 1, id: "", name: "", arguments: "}" },
        { index: 0, id: "a", name: "one", arguments: "{}" },
      ],
    );
    expect(tools).toEqual([
      { index: 0, id: "a", name: "one", arguments: "{}" },
      { index: 1, id: "b", name: "two", arguments: "{}" },
    ]);
  });

  it("names a source once", () => {
    const a = { url: "https://a.test", title: "" };
    const b = { url: "https://b.test", title: "B" };
    const named = { url: "https://a.test", title: "A" };
    expect(appendCitations([a, b], [named])).toEqual([named, b]);
  });
});
