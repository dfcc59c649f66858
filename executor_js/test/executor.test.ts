import { beforeEach, describe, expect, it } from "vitest";
import type { Executor } from "../src/executor";
import { FailureError, failure } from "../src/failures";
import type { MemoryLink } from "../src/link/memory";
import { ExecutorBench, type Led } from "./kit/bench";
import { type FakeClock, settle } from "./kit/clock";
import { reconnect, refuse, type ServerDouble } from "./kit/server";

describe("the executor", () => {
  let bench: ExecutorBench;
  let clock: FakeClock;
  let server: ServerDouble;
  let link: MemoryLink;
  let executor: Executor;
  let calls: Led[];
  let onlyCall: () => Led;

  beforeEach(async () => {
    bench = new ExecutorBench();
    ({ clock, server, link, executor, calls, onlyCall } = bench);
    executor.start();
    await settle();
  });

  it("[E1] announces first after every connect, with what it holds", async () => {
    expect(server.events).toEqual(["executor:ready"]);
    expect(executor.status).toBe("ready");
    server.offer("run");
    await settle();
    await onlyCall().write("a");
    const before = server.events.length;
    await reconnect(server, link);
    expect(server.events[before]).toBe("executor:ready");
    expect(server.announcements[1]).toMatchObject({
      executor_id: "executor",
      instance: "instance",
      max_runs: 2,
      holds: [{ run_id: "run", attempt: 1 }],
    });
  });

  it("[E1] sends no frame before the announcement was acknowledged", async () => {
    const run = server.offer("run");
    await settle();
    let answer: (() => void) | null = null;
    server.meddle = (event, payload, reply) => {
      if (event !== "executor:ready") return false;
      answer = () => server.handle(event, payload, reply);
      return true;
    };
    link.cut();
    await onlyCall().write("a");
    server.connected();
    link.restore();
    await clock.advance(1_000);
    expect(run.frames).toHaveLength(1);
    (answer as (() => void) | null)?.();
    await clock.advance(33);
    expect(run.lines).toEqual(["a"]);
  });

  it("[E1] announces again when it is not acknowledged, or refused for the moment", async () => {
    server.meddle = (event) => event === "executor:ready";
    await reconnect(server, link);
    await clock.advance(5_000);
    server.meddle = (_event, _payload, answer) => {
      answer(refuse("store_unavailable"));
      return true;
    };
    await clock.advance(10_000);
    expect(executor.status).toBe("connecting");
    server.meddle = () => false;
    await clock.advance(10_000);
    expect(executor.status).toBe("ready");
  });

  it("[E1] a changed announcement loses no line and no run", async () => {
    const run = server.offer("run");
    await settle();
    const call = onlyCall();
    for (let count = 0; count < 20; count += 1) {
      await call.write(`line ${count}`);
      if (count % 3 === 0) executor.announce();
      await clock.advance(7);
    }
    call.end({ reason: "stop", error: null });
    await clock.advance(1_000);
    expect(run.lines).toEqual(Array.from({ length: 20 }, (_, count) => `line ${count}`));
    expect(run.finish?.reason).toBe("stop");
    expect(executor.running).toBe(0);
  });

  it("[E1] a verdict that is older than the last acknowledgement forgets no line", async () => {
    const acks: (() => void)[] = [];
    server.meddle = (event, payload, answer) => {
      if (event !== "executor:ready") return false;
      // Judged now, told later: as it is when the server does several things at once.
      server.handle(event, payload, (ack) => acks.push(() => answer(ack)));
      return true;
    };
    const run = server.offer("run");
    executor.announce();
    await settle();
    expect(calls).toHaveLength(0);
    acks.shift()?.();
    const call = onlyCall();
    await call.write("a");
    executor.announce();
    await call.write("b");
    await clock.advance(1_000);
    acks.shift()?.();
    await call.write("c");
    call.end({ reason: "stop", error: null });
    await clock.advance(1_000);
    expect(run.lines).toEqual(["a", "b", "c"]);
    expect(run.finish).toEqual({ reason: "stop", error: null });
  });

  it("[E2][E3] answers at once, claims, and calls upstream only after the claim's acknowledgement", async () => {
    let claim: (() => void) | null = null;
    server.meddle = (event, payload, answer) => {
      claim = () => server.handle(event, payload, answer);
      return true;
    };
    server.offer("run");
    expect(server.answers).toEqual([{ status: true, run_id: "run", attempt: 1, error: null }]);
    await clock.advance(1_000);
    expect(calls).toHaveLength(0);
    (claim as (() => void) | null)?.();
    await settle();
    expect(calls).toHaveLength(1);
  });

  it("[E3] a claim whose acknowledgement was lost is repeated after the reconnect, and upstream is called once", async () => {
    server.meddle = (event, payload) => {
      server.handle(event, payload, () => {});
      return true;
    };
    const run = server.offer("run");
    await settle();
    expect(run.state).toBe("streaming");
    expect(calls).toHaveLength(0);
    server.meddle = () => false;
    await reconnect(server, link);
    expect(server.announcements[1]?.holds).toEqual([{ run_id: "run", attempt: 1 }]);
    expect(calls).toHaveLength(1);
  });

  it("[E3] the same offer again starts nothing more", async () => {
    const run = server.offer("run");
    await settle();
    server.send({ type: "request:chat:completion", data: run.request }, (value) =>
      expect(value).toMatchObject({ status: true }),
    );
    await settle();
    expect(calls).toHaveLength(1);
    expect(executor.running).toBe(1);
  });

  it("[E3] refuses beyond max_runs with executor_busy, for the moment", async () => {
    for (const id of ["one", "two", "three"]) server.offer(id);
    await settle();
    expect(server.answers.map((answer) => answer.error?.code ?? "accepted")).toEqual([
      "accepted",
      "accepted",
      "executor_busy",
    ]);
    expect(server.answers[2]?.error?.retryable).toBe(true);
  });

  it("[E3] refuses what it cannot run, and says why", async () => {
    bench.refusal = new FailureError(failure("connection_unknown"));
    server.offer("run");
    bench.refusal = new Error("broken");
    server.offer("other");
    expect(server.answers).toMatchObject([
      { status: false, run_id: "run", error: { code: "connection_unknown" } },
      { status: false, run_id: "other", error: { code: "executor_refused" } },
    ]);
    expect(executor.running).toBe(0);
  });

  it("[E4] a frame of a stale attempt aborts the upstream call", async () => {
    const run = server.offer("run");
    await settle();
    run.state = "taken";
    await onlyCall().write("a");
    await settle();
    expect(onlyCall().signal.aborted).toBe(true);
    expect(executor.running).toBe(0);
  });

  it("[E4] the verdict drop aborts the upstream call", async () => {
    const run = server.offer("run");
    await settle();
    run.state = "ended";
    await reconnect(server, link);
    expect(onlyCall().signal.aborted).toBe(true);
    expect(executor.running).toBe(0);
  });

  it("[E4] losing the connection, a full store and an unknown executor abort nothing", async () => {
    const run = server.offer("run");
    await settle();
    const call = onlyCall();
    for (const code of ["store_unavailable", "not_ready", "internal"] as const) {
      server.meddle = (event, _payload, answer) => {
        if (event === "executor:ready") return false;
        answer(refuse(code));
        return true;
      };
      await call.write(code);
      await clock.advance(60_000);
      expect(call.signal.aborted).toBe(false);
    }
    server.meddle = () => false;
    link.cut();
    await clock.advance(60_000);
    server.connected();
    link.restore();
    call.end({ reason: "stop", error: null });
    await clock.advance(1_000);
    expect(call.signal.aborted).toBe(false);
    expect(run.lines).toEqual(["store_unavailable", "not_ready", "internal"]);
    expect(run.finish?.reason).toBe("stop");
  });

  it("[E5] whatever is lost on the way, all lines arrive once and in order", async () => {
    const run = server.offer("run");
    await settle();
    const call = onlyCall();
    const lines = Array.from({ length: 200 }, (_, count) => `line ${count}`);
    for (const [count, line] of lines.entries()) {
      // Every fifth frame is stored but not acknowledged, every seventh is lost, and every 40 lines the link breaks.
      server.meddle = (event, payload) => {
        if (event === "executor:ready") return false;
        const lost = server.events.length % 7 === 0;
        const silent = server.events.length % 5 === 0;
        if (silent && !lost) server.handle(event, payload, () => {});
        return lost || silent;
      };
      await call.write(line);
      await clock.advance(40);
      if (count % 40 === 0) await reconnect(server, link);
    }
    server.meddle = () => false;
    call.end({ reason: "stop", error: null });
    await clock.advance(120_000);
    expect(run.lines).toEqual(lines);
    expect(run.finish?.reason).toBe("stop");
    expect(calls).toHaveLength(1);
  });

  it("[E9] a stop aborts the fetch at once and ends with aborted", async () => {
    const run = server.offer("run");
    await settle();
    await onlyCall().write("a");
    server.abort(run);
    expect(onlyCall().signal.aborted).toBe(true);
    await clock.advance(100);
    expect(run.lines).toEqual(["a"]);
    expect(run.finish).toEqual({ reason: "aborted", error: null });
    expect(executor.running).toBe(0);
  });

  it("[E9] a stop before the claim was acknowledged: upstream is never called", async () => {
    let claim: (() => void) | null = null;
    server.meddle = (event, payload, answer) => {
      claim ??= () => server.handle(event, payload, answer);
      return true;
    };
    const run = server.offer("run");
    await settle();
    server.abort(run);
    server.meddle = () => false;
    (claim as (() => void) | null)?.();
    await clock.advance(100);
    expect(calls).toHaveLength(0);
    expect(run.finish?.reason).toBe("aborted");
    expect(executor.running).toBe(0);
  });

  it("[E9] a stop of another attempt stops nothing", async () => {
    const run = server.offer("run");
    await settle();
    const { run_id, channel } = run.request;
    server.send({ type: "request:chat:abort", data: { run_id, channel, attempt: 2 } });
    expect(onlyCall().signal.aborted).toBe(false);
  });

  it("[C5] events that it does not know do nothing", () => {
    server.send({ type: "chats:changed", data: {} });
    server.send({ type: "of a later version", data: {} } as never);
    expect(executor.status).toBe("ready");
  });
});
