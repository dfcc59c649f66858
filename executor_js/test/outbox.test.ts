import { beforeEach, describe, expect, it } from "vitest";
import { settle } from "./kit/clock";
import { OutboxBench } from "./kit/outbox";

const MIB = 1024 * 1024;
const STOP = { reason: "stop", error: null } as const;

describe("the outbox", () => {
  let bench: OutboxBench;
  let { outbox, clock, frames, told }: OutboxBench = new OutboxBench();

  beforeEach(() => {
    bench = new OutboxBench();
    ({ outbox, clock, frames, told } = bench);
  });

  it("[E1] sends nothing before the executor is announced", async () => {
    await clock.advance(60_000);
    expect(frames).toEqual([]);
  });

  it("[E3] claims with an empty first frame, and says so only after its acknowledgement", () => {
    outbox.resume(null);
    expect(frames).toEqual([{ attempt: 3, index: 0, lines: [], done: false, finish: null }]);
    expect(told).toEqual([]);
    bench.ack(0);
    expect(told).toEqual(["claimed"]);
  });

  it("[E3] sends the claim again when it is not acknowledged, and after each resumption", async () => {
    outbox.resume(null);
    await clock.advance(4_999);
    expect(frames).toHaveLength(1);
    await clock.advance(1);
    expect(frames).toHaveLength(2);
    outbox.pause();
    await clock.advance(60_000);
    expect(frames).toHaveLength(2);
    outbox.resume(0);
    expect(frames).toHaveLength(3);
    bench.ack(0, -3);
    expect(told).toEqual([]);
    bench.ack(0);
    expect(told).toEqual(["claimed"]);
  });

  it("[E3] does not call upstream for a claim of which the server has lines already", () => {
    outbox.resume(null);
    bench.ack(2);
    expect(told).toEqual(["dropped"]);
  });

  it("[E3] gives up a claim that is refused for good", () => {
    outbox.resume(null);
    bench.refuse("not_yours");
    expect(told).toEqual(["dropped"]);
  });

  it("[E5] the first line goes at once, the next frame after the acknowledgement and 33 ms", async () => {
    bench.claim();
    await outbox.write("a");
    expect(bench.last).toMatchObject({ index: 0, lines: ["a"] });
    await outbox.write("b");
    await outbox.write("c");
    await clock.advance(10);
    bench.ack(1);
    await clock.advance(22);
    expect(bench.last?.lines).toEqual(["a"]);
    await clock.advance(1);
    expect(bench.last).toMatchObject({ index: 1, lines: ["b", "c"] });
  });

  it("[E5] a late acknowledgement holds the next frame back", async () => {
    bench.claim();
    await outbox.write("a");
    await outbox.write("b");
    await clock.advance(1_000);
    expect(bench.last?.lines).toEqual(["a"]);
    bench.ack(1);
    expect(bench.last).toMatchObject({ index: 1, lines: ["b"] });
  });

  it("[E5] no acknowledgement in 5 s: resent from the last expected, with growing patience", async () => {
    bench.claim();
    await outbox.write("a");
    await outbox.write("b");
    await clock.advance(5_000);
    expect(bench.last).toMatchObject({ index: 0, lines: ["a", "b"] });
    const sent = frames.length;
    await clock.advance(9_999);
    expect(frames).toHaveLength(sent);
    await clock.advance(1);
    expect(frames).toHaveLength(sent + 1);
    bench.ack(2);
    await clock.advance(33);
    expect(frames).toHaveLength(sent + 1);
  });

  it("[E5] an acknowledgement of a frame that was sent again since is passed over", async () => {
    bench.claim();
    await outbox.write("a");
    await clock.advance(5_000);
    bench.ack(1, -2);
    await outbox.write("b");
    bench.ack(1);
    await clock.advance(33);
    expect(bench.last).toMatchObject({ index: 1, lines: ["b"] });
  });

  it("[E5] a gap is refused and resent from expected", async () => {
    bench.claim();
    await outbox.write("a");
    await outbox.write("b");
    bench.ack(1);
    await clock.advance(33);
    bench.refuse("gap", 1);
    await clock.advance(33);
    expect(frames.slice(-2).map(({ index, lines }) => ({ index, lines }))).toEqual([
      { index: 1, lines: ["b"] },
      { index: 1, lines: ["b"] },
    ]);
  });

  it("[R4] a gap before what is still held ends the run with lines_forgotten", async () => {
    bench.claim();
    for (const line of ["a", "b", "c"]) await outbox.write(line);
    bench.ack(1);
    await clock.advance(33);
    bench.ack(3);
    outbox.pause();
    outbox.resume(1);
    expect(told).toEqual(["claimed", "forgotten"]);
    await clock.advance(33);
    expect(bench.last).toMatchObject({
      index: 1,
      lines: [],
      done: true,
      finish: { error: { code: "lines_forgotten" } },
    });
    bench.ack(1);
    expect(told).toEqual(["claimed", "forgotten", "delivered"]);
  });

  it("[E1] after a reconnect it goes on from expected, and forgets what is before it", async () => {
    bench.claim();
    for (const line of ["a", "b", "c"]) await outbox.write(line);
    outbox.pause();
    await clock.advance(60_000);
    const sent = frames.length;
    outbox.resume(2);
    expect(frames.slice(sent)).toMatchObject([{ index: 2, lines: ["c"] }]);
  });

  it.each(["stale_attempt", "run_ended"] as const)(
    "[E4] %s ends the attempt, and nothing is sent any more",
    async (code) => {
      bench.claim();
      await outbox.write("a");
      bench.refuse(code);
      expect(told).toEqual(["claimed", "dropped"]);
      const sent = frames.length;
      await outbox.write("b");
      outbox.end(STOP);
      await clock.advance(60_000);
      expect(frames).toHaveLength(sent);
      expect(clock.pending).toBe(0);
    },
  );

  it.each(["store_unavailable", "not_yours", "internal"] as const)(
    "[E4] %s ends nothing: the frame is sent again, with backoff",
    async (code) => {
      bench.claim();
      await outbox.write("a");
      for (const wait of [500, 1_000, 2_000]) {
        const sent = frames.length;
        bench.refuse(code);
        await clock.advance(wait - 1);
        expect(frames).toHaveLength(sent);
        await clock.advance(1);
        expect(bench.last).toMatchObject({ index: 0, lines: ["a"] });
      }
      expect(told).toEqual(["claimed"]);
    },
  );

  it("[E1] not_ready asks for an announcement, and the frame is sent again after it", async () => {
    bench.claim();
    await outbox.write("a");
    bench.refuse("not_ready");
    expect(told).toEqual(["claimed", "notReady"]);
    outbox.resume(0);
    await clock.advance(33);
    expect(bench.last).toMatchObject({ index: 0, lines: ["a"] });
  });

  it("an answer that is no acknowledgement is a refusal for the moment", async () => {
    bench.claim();
    await outbox.write("a");
    bench.ack(Number.NaN);
    await clock.advance(500);
    expect(bench.last).toMatchObject({ index: 0, lines: ["a"] });
  });

  it("[E7] the end frame carries the last lines, and is kept until it is acknowledged", async () => {
    bench.claim();
    await outbox.write("a");
    await outbox.write("b");
    outbox.end(STOP);
    bench.ack(1);
    await clock.advance(33);
    expect(bench.last).toEqual({ attempt: 3, index: 1, lines: ["b"], done: true, finish: STOP });
    await clock.advance(5_000);
    expect(bench.last).toEqual({ attempt: 3, index: 1, lines: ["b"], done: true, finish: STOP });
    bench.ack(2);
    expect(told).toEqual(["claimed", "delivered"]);
    expect(clock.pending).toBe(0);
  });

  it("[E8] with nothing to send for 10 s it sends an empty frame, again and again", async () => {
    bench.claim();
    await clock.advance(9_999);
    expect(frames).toHaveLength(1);
    await clock.advance(1);
    expect(bench.last).toEqual({ attempt: 3, index: 0, lines: [], done: false, finish: null });
    bench.ack(0);
    await clock.advance(10_000);
    expect(frames).toHaveLength(3);
  });

  it("[E8] a line after a heartbeat goes at once", async () => {
    bench.claim();
    await clock.advance(10_000);
    bench.ack(0);
    await outbox.write("a");
    expect(bench.last).toMatchObject({ index: 0, lines: ["a"] });
  });

  it("[E10] a line of 1 MiB is taken, a longer one is not", async () => {
    bench.claim();
    await outbox.write("é".repeat(MIB / 2));
    await expect(outbox.write(`${"é".repeat(MIB / 2)}x`)).rejects.toMatchObject({
      failure: { code: "line_too_long" },
    });
  });

  it("[E10] no frame has more than 2 MiB, also as JSON", async () => {
    bench.claim();
    await outbox.write("first");
    for (let count = 0; count < 30; count += 1) await outbox.write('"'.repeat(100_000));
    outbox.end(STOP);
    while (!told.includes("delivered")) {
      const frame = bench.last;
      bench.ack((frame?.index ?? 0) + (frame?.lines.length ?? 0));
      await clock.advance(33);
    }
    const largest = Math.max(...frames.map((frame) => JSON.stringify(frame.lines).length));
    expect(largest).toBeGreaterThan(MIB);
    expect(largest).toBeLessThanOrEqual(2 * MIB);
    expect(frames.flatMap((frame) => frame.lines)).toHaveLength(31);
  });

  it("[E10] with 32 MiB unacknowledged it takes nothing more until there is room", async () => {
    bench.claim();
    const line = "x".repeat(MIB);
    for (let count = 0; count < 32; count += 1) await outbox.write(line);
    let taken = false;
    const writing = outbox.write("more").then(() => {
      taken = true;
    });
    await settle();
    expect(taken).toBe(false);
    bench.ack(1);
    await writing;
    expect(taken).toBe(true);
  });

  it("[E9] lines that a stop left behind are not sent for ever: the accepted end is the last of it", async () => {
    bench.claim();
    await outbox.write("data: a");
    bench.refuse("store_unavailable", 0);
    outbox.end({ reason: "aborted", error: null });
    await clock.advance(1_000);
    expect(bench.last).toMatchObject({ index: 0, lines: ["data: a"], done: true });
    bench.ack(0);
    expect(told).toContain("delivered");
    const sent = frames.length;
    await clock.advance(60_000);
    expect(frames.length).toBe(sent);
  });

  it("[E9] an end releases a writer that waits for room", async () => {
    bench.claim();
    for (let count = 0; count < 32; count += 1) await outbox.write("x".repeat(MIB));
    const writing = outbox.write("more");
    outbox.end({ reason: "aborted", error: null });
    await writing;
    expect(bench.last?.done).toBe(false);
  });
});
