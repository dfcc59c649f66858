import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Executor } from "../src/executor";
import { failure } from "../src/failures";
import type { MemoryLink } from "../src/link/memory";
import { ExecutorBench, type Led } from "./kit/bench";
import { type FakeClock, settle } from "./kit/clock";
import { reconnect, refuse, type ServerDouble } from "./kit/server";

describe("the executor, when it leaves", () => {
  let clock: FakeClock;
  let server: ServerDouble;
  let link: MemoryLink;
  let executor: Executor;
  let onlyCall: () => Led;

  beforeEach(async () => {
    ({ clock, server, link, executor, onlyCall } = new ExecutorBench());
    executor.start();
    await settle();
  });

  it("[E12] replaced by a newer instance: it leaves, and does not come back", async () => {
    server.offer("run");
    await settle();
    server.send({ type: "executor:replaced", data: {} });
    expect(executor.status).toBe("replaced");
    expect(link.connected).toBe(false);
    executor.start();
    link.restore();
    await clock.advance(60_000);
    expect(executor.status).toBe("replaced");
    expect(server.announcements).toHaveLength(1);
  });

  it("[E12] an announcement that is refused for good is not repeated, until it is started again", async () => {
    server.meddle = (_event, _payload, answer) => {
      answer(refuse("executor_taken"));
      return true;
    };
    await reconnect(server, link);
    expect(executor.status).toBe("refused");
    expect(executor.error?.code).toBe("executor_taken");
    expect(clock.pending).toBe(0);
    server.meddle = () => false;
    executor.start();
    expect(executor.status).toBe("ready");
  });

  it("[C2] a refused connection is shown with its reason", () => {
    link.cut();
    link.refuse(failure("unauthorized"));
    expect(executor.status).toBe("refused");
    expect(executor.error?.code).toBe("unauthorized");
  });

  it.each(["internal", "store_unavailable", "shutting_down", "of_a_later_version"])(
    "[C2] a connection refused with %s is tried again for ever, and a run in hand goes on",
    async (code) => {
      const run = server.offer("run");
      await settle();
      await onlyCall().write("a");
      link.cut();
      link.refusal = { code, message: "Not now.", retryable: false };
      server.connected();
      link.restore();
      for (let hour = 0; hour < 3; hour += 1) await clock.advance(3_600_000);
      expect(executor.status).toBe("offline");
      expect(executor.error?.code).toBe(code);
      expect(onlyCall().signal.aborted).toBe(false);
      link.refusal = null;
      await clock.advance(10_000);
      expect(executor.status).toBe("ready");
      expect(executor.error).toBeNull();
      expect(run.lines).toEqual(["a"]);
    },
  );

  it("[C2] is patient with a server that refuses it for the moment: 0.5 s at first, later 10 s", async () => {
    link.cut();
    const refused = vi.spyOn(link, "refuse");
    link.refusal = failure("internal");
    link.restore();
    for (const pause of [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
      refused.mockClear();
      await clock.advance(pause - 1);
      expect(refused).not.toHaveBeenCalled();
      await clock.advance(1);
      expect(refused).toHaveBeenCalledOnce();
    }
  });

  it.each(["unauthorized", "forbidden", "protocol_unsupported", "bad_origin", "executor_taken"] as const)(
    "[C2] a connection refused with %s is not tried again, until it is started again",
    async (code) => {
      link.cut();
      link.refusal = failure(code);
      link.restore();
      expect(executor.status).toBe("refused");
      expect(executor.error?.code).toBe(code);
      expect(clock.pending).toBe(0);
      link.refusal = null;
      executor.start();
      expect(executor.status).toBe("ready");
    },
  );

  it("[C2] waits no longer when it is started, and no more when it is stopped", async () => {
    link.cut();
    link.refusal = failure("internal");
    link.restore();
    link.refusal = null;
    executor.start();
    expect(executor.status).toBe("ready");
    link.cut();
    link.refusal = failure("internal");
    link.restore();
    await executor.stop(0);
    expect(clock.pending).toBe(0);
    expect(executor.status).toBe("offline");
  });

  it("[E1] an announcement that is refused without a final reason is repeated, and the reason is shown", async () => {
    server.meddle = (_event, _payload, answer) => {
      answer(refuse("bad_request"));
      return true;
    };
    await reconnect(server, link);
    await clock.advance(3_600_000);
    expect(executor.status).toBe("connecting");
    expect(executor.error?.code).toBe("bad_request");
    server.meddle = () => false;
    await clock.advance(10_000);
    expect(executor.status).toBe("ready");
    expect(executor.error).toBeNull();
  });

  it("stopping ends the runs in hand, takes no other, and leaves when the server knows", async () => {
    const run = server.offer("run");
    await settle();
    const stopped = executor.stop(2_000);
    server.offer("late");
    expect(server.answers[1]?.error?.code).toBe("executor_closing");
    await clock.advance(100);
    await stopped;
    expect(run.finish?.reason).toBe("aborted");
    expect(executor.status).toBe("offline");
    expect(link.connected).toBe(false);
  });

  it("draining takes no new run, and leaves when those in hand are delivered", async () => {
    const run = server.offer("run");
    await settle();
    const drained = executor.drain();
    server.offer("late");
    expect(server.answers[1]?.error?.code).toBe("executor_closing");
    await clock.advance(60_000);
    expect(executor.status).toBe("ready");
    onlyCall().end({ reason: "stop", error: null });
    await clock.advance(100);
    await drained;
    expect(run.finish?.reason).toBe("stop");
    expect(executor.status).toBe("offline");
  });

  it("a stop while it drains ends both", async () => {
    server.offer("run");
    await settle();
    const both = Promise.all([executor.drain(), executor.stop(2_000)]);
    await clock.advance(100);
    await both;
    expect(executor.status).toBe("offline");
  });

  it("stopping does not wait for ever", async () => {
    server.offer("run");
    await settle();
    server.meddle = () => true;
    const stopped = executor.stop(2_000);
    await clock.advance(2_000);
    await stopped;
    expect(executor.status).toBe("offline");
  });
});
