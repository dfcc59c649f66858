/** How a viewer follows a chat: what it holds, drops and asks for again. */

import { describe, expect, it } from "vitest";
import type { ChatOpen, OpenAck, Refusal } from "../../src/index";
import { ChatFollower } from "../viewer/chat-follower";
import { chat, delta, event, opened, resumed } from "./fixtures";

interface Opening {
  readonly request: ChatOpen;
  readonly answer: (ack: OpenAck | Refusal) => Promise<void>;
  readonly fail: () => Promise<void>;
}

/** A follower whose server is the test. */
function following() {
  const openings: Opening[] = [];
  const later: (() => void)[] = [];
  const follower = new ChatFollower(1, {
    open: (request) => {
      let resolve: (ack: OpenAck | Refusal) => void = () => {};
      let reject: (error: Error) => void = () => {};
      const promise = new Promise<OpenAck | Refusal>((yes, no) => {
        resolve = yes;
        reject = no;
      });
      const settled = async (act: () => void): Promise<void> => {
        act();
        await promise.catch(() => {});
        await Promise.resolve();
      };
      openings.push({
        request,
        answer: (ack) => settled(() => resolve(ack)),
        fail: () => settled(() => reject(new Error("gone"))),
      });
      return promise;
    },
    whole: () => Promise.reject(new Error("no message is partial here")),
    later: (_ms, act) => void later.push(act),
    changed: () => {},
  });
  const last = (): Opening => {
    const opening = openings.at(-1);
    if (!opening) throw new Error("nothing was opened");
    return opening;
  };
  const text = (): string | undefined => follower.view?.messages.a?.content;
  return { follower, openings, later, last, text };
}

async function open(seq = 5) {
  const all = following();
  all.follower.connected();
  await all.last().answer(opened(seq));
  return all;
}

const refusal = (code: string, retryable: boolean): Refusal => ({
  ok: false,
  error: { code, message: code, retryable },
  expected: null,
});

describe("a viewer", () => {
  it("[V1] opens a chat without `after`, and is open with its snapshot", async () => {
    const { follower, openings } = await open();
    expect(openings.map((opening) => opening.request)).toEqual([{ chat_id: 1 }]);
    expect(follower.phase).toBe("open");
    expect(follower.view?.seq).toBe(5);
  });

  it("[V1] holds events that come before the ack, and drops those up to its seq", async () => {
    const { follower, last, text } = following();
    follower.connected();
    for (const early of [delta(4, "old"), delta(5, "old"), delta(6, "new"), delta(7, "er")])
      follower.event(early);
    expect(follower.view).toBeNull();
    await last().answer(opened(5));
    expect(text()).toBe("newer");
    expect(follower.view?.seq).toBe(7);
  });

  it("[V1] puts held events behind those that the ack brings", async () => {
    const { follower, last, text } = await open();
    follower.disconnected();
    follower.connected();
    expect(last().request).toEqual({ chat_id: 1, after: 5 });
    follower.event(delta(8, "c"));
    await last().answer(resumed(7, [delta(6, "a"), delta(7, "b")]));
    expect(text()).toBe("abc");
  });

  it("[V2] folds what follows, and passes over what it has", async () => {
    const { follower, text, openings } = await open();
    for (const next of [delta(6, "a"), delta(6, "a"), delta(5, "x"), delta(7, "b")]) follower.event(next);
    expect(text()).toBe("ab");
    expect(openings).toHaveLength(1);
  });

  it("[V2] a gap makes the viewer open again with `after`", async () => {
    const { follower, last, text } = await open();
    follower.event(delta(6, "a"));
    follower.event(delta(8, "c"));
    expect(last().request).toEqual({ chat_id: 1, after: 6 });
    expect(text()).toBe("a");
    await last().answer(resumed(8, [delta(7, "b"), delta(8, "c")]));
    expect(text()).toBe("abc");
    expect(follower.phase).toBe("open");
  });

  it("[V2] a gap that stays does not make it spin", async () => {
    const { follower, last, later, openings } = await open();
    follower.event(delta(9, "x"));
    await last().answer(resumed(9, [delta(9, "x")]));
    expect(openings).toHaveLength(2);
    expect(later).toHaveLength(1);
    expect(follower.view?.seq).toBe(5);
  });

  it("[V3] takes a snapshot in answer to `after`, also one that is older than what it had", async () => {
    const { follower, last } = await open(9);
    follower.disconnected();
    follower.connected();
    await last().answer(opened(3, { chat: chat({ head_id: "a", title: "Restored" }) }));
    expect(follower.view?.seq).toBe(3);
    expect(follower.view?.chat.title).toBe("Restored");
  });

  it("[V3] a chat opened in mid-stream gets each later delta exactly once", async () => {
    const { follower, last, text } = following();
    follower.connected();
    const partial = opened(5);
    const first = partial.snapshot?.messages[1];
    if (first) first.content = "Once ";
    follower.event(delta(5, "Once "));
    follower.event(delta(6, "upon"));
    await last().answer(partial);
    follower.event(delta(6, "upon"));
    follower.event(delta(7, " a time"));
    expect(text()).toBe("Once upon a time");
  });

  it("[V5] opens again with `after` when it is told to", async () => {
    const { follower, last } = await open();
    follower.event(delta(6, "a"));
    follower.reopen();
    expect(last().request).toEqual({ chat_id: 1, after: 6 });
  });

  it("[V6] one that is behind its head opens again with `after`; one that is not does nothing", async () => {
    const { follower, last, openings } = await open();
    follower.head(5);
    expect(openings).toHaveLength(1);
    follower.head(7);
    expect(last().request).toEqual({ chat_id: 1, after: 5 });
  });

  it("[V6] heads that come while it opens are not needed", async () => {
    const { follower, openings } = following();
    follower.connected();
    follower.head(7);
    expect(openings).toHaveLength(1);
  });

  it("a head on a branch that is not here is read from a snapshot", async () => {
    const { follower, last } = await open();
    follower.event(event(6, { kind: "chat", chat: chat({ head_id: "far" }) }));
    expect(last().request).toEqual({ chat_id: 1 });
  });

  it("an answer to an older opening is not for it any more", async () => {
    const { follower, openings } = following();
    follower.connected();
    follower.disconnected();
    follower.connected();
    await openings[0]?.answer(opened(3));
    expect(follower.view).toBeNull();
    await openings[1]?.answer(opened(5));
    expect(follower.view?.seq).toBe(5);
  });

  it("tries again after an opening that failed, and says what the server refused for good", async () => {
    const { follower, openings, last, later } = following();
    follower.connected();
    await last().fail();
    expect(openings).toHaveLength(2);
    await last().answer(refusal("internal", true));
    expect(later).toHaveLength(1);
    later[0]?.();
    expect(openings).toHaveLength(3);
    await last().answer(refusal("forbidden", false));
    expect([follower.phase, follower.error?.code]).toEqual(["failed", "forbidden"]);
  });

  it("[R9] a chat that is gone shows nothing, and is not opened again", async () => {
    const { follower, openings } = await open();
    follower.gone();
    follower.reopen();
    follower.event(delta(6, "a"));
    expect([follower.phase, follower.view, openings.length]).toEqual(["gone", null, 1]);
  });

  it("a chat of nobody is gone too", async () => {
    const { follower, last } = following();
    follower.connected();
    await last().answer(refusal("not_found", false));
    expect(follower.phase).toBe("gone");
  });
});
