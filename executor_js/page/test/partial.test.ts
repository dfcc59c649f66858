/** A message that is longer than a snapshot: its end is shown, its beginning is read by HTTP, and deltas join (V1, V3). */

import { describe, expect, it } from "vitest";
import type { ChatEvent, MessageAt, OpenAck } from "../../src/index";
import { everyPage } from "../lib/pages";
import { ChatFollower } from "../viewer/chat-follower";
import { delta, event, message, opened, resumed } from "./fixtures";

const long = (content: string, partial: boolean) =>
  message("a", "u", { role: "assistant", status: "streaming", run_id: "r", content, partial });

/** A snapshot at `seq` with only the end of the answer. */
const cut = (seq: number, end: string): OpenAck =>
  opened(seq, { messages: [message("u", null), long(end, true)] });

const at = (seq: number, content: string): MessageAt => ({ seq, message: long(content, false) });

/** A server that answers when the test says so. */
class Asked<T> {
  readonly calls: { resolve(value: T): void; reject(error: Error): void }[] = [];

  ask = (): Promise<T> => new Promise((resolve, reject) => void this.calls.push({ resolve, reject }));

  async answer(value: T, call = this.calls.length - 1): Promise<void> {
    this.calls[call]?.resolve(value);
    await settled();
  }

  async fail(why: string): Promise<void> {
    this.calls.at(-1)?.reject(new Error(why));
    await settled();
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

/** A follower that has opened its chat at seq 5 and has the end of a long answer. */
async function following() {
  const openings = new Asked<OpenAck>();
  const wholes = new Asked<MessageAt>();
  const later: { ms: number; act: () => void }[] = [];
  const follower = new ChatFollower(1, {
    open: openings.ask,
    whole: wholes.ask,
    later: (ms, act) => void later.push({ ms, act }),
    changed: () => {},
  });
  follower.connected();
  await openings.answer(cut(5, "end"));
  const shown = () => follower.view?.messages.a;
  const tell = (...events: ChatEvent[]): void => {
    for (const one of events) follower.event(one);
  };
  return { follower, openings, wholes, later, shown, tell };
}

describe("a message that a snapshot has only in part", () => {
  it("[V1] shows its end until the whole is here", async () => {
    const { follower, wholes, shown, tell } = await following();
    expect(shown()).toMatchObject({ content: "end", partial: true });
    expect(wholes.calls).toHaveLength(1);
    tell(delta(6, "+6"));
    expect(shown()?.content).toBe("end+6");
    await wholes.answer(at(6, "the whole end+6"));
    expect(shown()).toMatchObject({ content: "the whole end+6", partial: false });
    tell(delta(7, "+7"));
    expect(shown()?.content).toBe("the whole end+6+7");
    expect(follower.missing).toBeNull();
  });

  it("[V3] takes from the deltas that came before the answer those that it does not have", async () => {
    const { wholes, shown, tell } = await following();
    tell(delta(6, "+6"), delta(7, "+7"), delta(8, "+8"));
    await wholes.answer(at(7, "the whole end+6+7"));
    expect(shown()?.content).toBe("the whole end+6+7+8");
  });

  it("[V3] passes over the deltas that come after the answer and are in it already", async () => {
    const { wholes, shown, tell } = await following();
    tell(delta(6, "+6"));
    await wholes.answer(at(8, "the whole end+6+7+8"));
    tell(delta(7, "+7"), delta(8, "+8"), delta(9, "+9"));
    expect(shown()?.content).toBe("the whole end+6+7+8+9");
  });

  it("[V3] joins an answer that is older than the snapshot, since nothing was written in between", async () => {
    const { wholes, shown, tell } = await following();
    tell(delta(6, "+6"));
    await wholes.answer(at(3, "the whole end"));
    expect(shown()?.content).toBe("the whole end+6");
  });

  it("[V2] takes the message of an event for the whole, and not the answer that comes later", async () => {
    const { wholes, shown, tell } = await following();
    tell(event(6, { kind: "message", message: long("final", false) }), delta(7, "+7"));
    await wholes.answer(at(5, "the whole end"));
    expect(shown()).toMatchObject({ content: "final+7", partial: false });
  });

  it("[V2] a message that changed before the answer was made, and is told of later, begins anew", async () => {
    const { wholes, shown, tell } = await following();
    await wholes.answer(at(8, "again+7+8"));
    tell(event(6, { kind: "message", message: long("again", false) }), delta(7, "+7"), delta(8, "+8"));
    expect(shown()?.content).toBe("again+7+8");
  });

  it("[R9] stays away when it was removed meanwhile", async () => {
    const { follower, wholes, shown, tell } = await following();
    tell(event(6, { kind: "removed", message_ids: ["a"] }));
    await wholes.answer(at(5, "the whole end"));
    expect(shown()).toBeUndefined();
    expect(follower.view?.held).toEqual({});
  });

  it("[V1] a new snapshot asks anew, and the answer to the older question is not for it", async () => {
    const { follower, openings, wholes, shown } = await following();
    follower.reopen(true);
    await openings.answer(cut(9, "later end"));
    expect(wholes.calls).toHaveLength(2);
    await wholes.answer(at(5, "old"), 0);
    expect(shown()).toMatchObject({ content: "later end", partial: true });
    await wholes.answer(at(9, "the whole later end"));
    expect(shown()).toMatchObject({ content: "the whole later end", partial: false });
  });

  it("[V1] what is opened again with `after` goes on waiting for the same answer", async () => {
    const { follower, openings, wholes, shown } = await following();
    follower.disconnected();
    follower.connected();
    await openings.answer(resumed(6, [delta(6, "+6")]));
    expect(wholes.calls).toHaveLength(1);
    await wholes.answer(at(5, "the whole end"));
    expect(shown()?.content).toBe("the whole end+6");
  });

  it("says why it could not be read, and tries again after growing pauses", async () => {
    const { follower, wholes, later, shown, tell } = await following();
    await wholes.fail("The server cannot be reached.");
    expect(follower.missing).toBe("The server cannot be reached.");
    expect(shown()).toMatchObject({ content: "end", partial: true });
    later[0]?.act();
    await wholes.fail("Still not.");
    tell(delta(6, "+6"));
    expect(later.map(({ ms }) => ms)).toEqual([250, 500]);
    later[1]?.act();
    await wholes.answer(at(5, "the whole end"));
    expect([shown()?.content, follower.missing]).toEqual(["the whole end+6", null]);
  });

  it("is not asked for any more when the chat is closed or gone", async () => {
    for (const over of ["close", "gone"] as const) {
      const { follower, wholes, later } = await following();
      await wholes.fail("No.");
      follower[over]();
      later[0]?.act();
      expect(wholes.calls).toHaveLength(1);
    }
  });
});

describe("earlier messages", () => {
  it("[V1] are read page after page", async () => {
    const asked: (string | null)[] = [];
    const read = async (cursor: string | null) => {
      asked.push(cursor);
      const number = cursor === null ? 1 : Number(cursor) + 1;
      return { items: [number], next_cursor: number < 3 ? String(number) : null };
    };
    expect(await everyPage(read)).toEqual([1, 2, 3]);
    expect(asked).toEqual([null, "1", "2"]);
    expect(await everyPage(read, () => false)).toEqual([1]);
  });
});
