/** An outbox whose frames the test answers by hand. */

import { failure } from "../../src/failures";
import { Redaction } from "../../src/link/redaction";
import { Outbox } from "../../src/outbox";
import type { Frame } from "../../src/protocol.gen";
import { FakeClock } from "./clock";

export class OutboxBench {
  readonly clock = new FakeClock();
  readonly frames: Frame[] = [];
  readonly told: string[] = [];
  secrets: readonly string[] = [];
  readonly outbox: Outbox;
  private answers: ((ack: unknown) => void)[] = [];

  constructor() {
    this.outbox = new Outbox({
      attempt: 3,
      clock: this.clock,
      redaction: new Redaction(() => this.secrets).lines(),
      send: (frame, answered) => {
        this.frames.push(frame);
        this.answers.push(answered);
      },
      claimed: () => this.told.push("claimed"),
      forgotten: () => this.told.push("forgotten"),
      delivered: () => this.told.push("delivered"),
      dropped: () => this.told.push("dropped"),
      notReady: () => this.told.push("notReady"),
    });
  }

  get last(): Frame | undefined {
    return this.frames.at(-1);
  }

  ack(expected: number, which = -1): void {
    this.answers.at(which)?.({ ok: true, expected });
  }

  refuse(code: Parameters<typeof failure>[0], expected: number | null = null): void {
    this.answers.at(-1)?.({ ok: false, error: failure(code), expected });
  }

  claim(): void {
    this.outbox.resume(null);
    this.ack(0);
  }
}
