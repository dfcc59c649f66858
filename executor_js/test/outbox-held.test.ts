import { beforeEach, describe, expect, it } from "vitest";
import { failure } from "../src/failures";
import { OutboxBench } from "./kit/outbox";
import { canary } from "./kit/secrets";

const MIB = 1024 * 1024;
const STOP = { reason: "stop", error: null } as const;

describe("an outbox with the beginning of a secret at the end of a line", () => {
  let bench: OutboxBench;
  let { outbox, clock, frames, told }: OutboxBench = new OutboxBench();
  const SECRET = canary();
  const held = `data: {"choices":[{"index":0,"delta":{"content":"${SECRET.slice(0, 12)}"}}]}`;

  beforeEach(async () => {
    bench = new OutboxBench();
    ({ outbox, clock, frames, told } = bench);
    bench.secrets = [SECRET];
    bench.claim();
    await outbox.write(held);
  });

  it.each(["stop", "aborted", "truncated", "error"] as const)(
    "[E13] the line is held, and nothing of it is lost at the end: %s",
    async (reason) => {
      await clock.advance(9_999);
      expect(frames).toHaveLength(1);
      const finish = { reason, error: reason === "error" ? failure("upstream_error") : null };
      outbox.end(finish);
      expect(bench.last).toEqual({ attempt: 3, index: 0, lines: [held], done: true, finish });
      bench.ack(1);
      expect(told).toContain("delivered");
    },
  );

  it("[E8][E13] a silent upstream is waited for with heartbeats, and the line keeps its index", async () => {
    await clock.advance(10_000);
    expect(bench.last).toMatchObject({ index: 0, lines: [], done: false });
    bench.ack(0);
    await outbox.write("data: {}");
    await clock.advance(10_000);
    bench.ack(0);
    await outbox.write(held.replace(SECRET.slice(0, 12), "so it is"));
    expect(bench.last).toMatchObject({
      index: 0,
      lines: [held, "data: {}", expect.stringContaining("so it is")],
    });
  });

  it("[E10][E13] an end that comes while a writer waits for room keeps it", async () => {
    const long = `data: {"choices":[{"index":0,"delta":{"content":"${".".repeat(MIB - 100)}"}}]}`;
    for (let count = 0; count < 32; count += 1) await outbox.write(long);
    await outbox.write(held);
    const writing = outbox.write(long);
    outbox.end({ reason: "aborted", error: null });
    await writing;
    while (!bench.last?.done) {
      bench.ack((bench.last?.index ?? 0) + (bench.last?.lines.length ?? 0));
      await clock.advance(33);
    }
    expect(bench.last?.lines).toEqual([held]);
  });

  it("[E5][E13] what is sent again is the same, whatever became of the secret", async () => {
    await outbox.write(held.replace(SECRET.slice(0, 12), SECRET.slice(12)));
    const { lines } = bench.last ?? {};
    expect(lines?.join()).toContain("[redacted]");
    bench.secrets = [];
    await clock.advance(5_000);
    expect(frames).toHaveLength(3);
    expect(bench.last?.lines).toEqual(lines);
  });

  it("[R4] it is forgotten with the lines that the server has lost", async () => {
    await outbox.write(held.replace(SECRET.slice(0, 12), "."));
    bench.ack(2);
    await outbox.write(held);
    outbox.pause();
    outbox.resume(1);
    outbox.end(STOP);
    await clock.advance(33);
    expect(bench.last).toMatchObject({ lines: [], finish: { error: { code: "lines_forgotten" } } });
  });

  it("[E10][E13] a line that becomes longer than 1 MiB when it is cleaned is not taken", async () => {
    bench = new OutboxBench();
    const short = canary(8);
    bench.secrets = [short];
    bench.claim();
    const line = short.repeat(MIB / 8);
    await expect(bench.outbox.write(line)).rejects.toMatchObject({ failure: { code: "line_too_long" } });
  });
});
