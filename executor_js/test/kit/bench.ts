/** An executor on an in-memory link to a scripted server, with a clock and upstream calls that the test leads. */

import { expect } from "vitest";
import type { Job } from "../../src/attempt";
import { Executor } from "../../src/executor";
import type { MemoryLink } from "../../src/link/memory";
import { Redaction } from "../../src/link/redaction";
import type { Connection, Finish } from "../../src/protocol.gen";
import { FakeClock } from "./clock";
import { memoryServer, type ServerDouble } from "./server";

const CONNECTION: Connection = {
  id: "c",
  provider: "custom",
  label: "",
  models: [],
  error: null,
  first_line_timeout: null,
  idle_timeout: null,
};

/** An upstream call that the test leads. */
export class Led {
  readonly signal: AbortSignal;
  readonly write: (line: string) => Promise<void>;
  end: (finish: Finish) => void = () => {};
  readonly ended: Promise<Finish>;

  constructor(write: (line: string) => Promise<void>, signal: AbortSignal) {
    this.write = write;
    this.signal = signal;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }
}

export class ExecutorBench {
  readonly clock = new FakeClock();
  readonly server: ServerDouble;
  readonly link: MemoryLink;
  readonly executor: Executor;
  readonly calls: Led[] = [];
  /** What the next offers are refused with. */
  refusal: Error | null = null;
  /** What must not leave. */
  secrets: readonly string[] = [];

  constructor() {
    ({ server: this.server, link: this.link } = memoryServer());
    this.executor = new Executor({
      connect: this.link.connect,
      clock: this.clock,
      redaction: new Redaction(() => this.secrets),
      executorId: "executor",
      secret: "secret-of-the-executor",
      instance: "instance",
      maxRuns: 2,
      name: () => "Test",
      connections: () => [CONNECTION],
      prepare: () => this.prepare(),
      changed: () => {},
    });
  }

  readonly onlyCall = (): Led => {
    expect(this.calls).toHaveLength(1);
    return this.calls[0] as Led;
  };

  private prepare(): Job {
    if (this.refusal) throw this.refusal;
    return (write, signal) => {
      const led = new Led(write, signal);
      this.calls.push(led);
      return led.ended;
    };
  }
}
