/**
 * A transport without a network: both ends are in one process, and what they exchange becomes JSON as on the wire.
 */

import type { Failure, ServerMessage } from "../protocol.gen";
import type { Connect, Handlers } from "./transport";

export type Serve = (event: string, payload: unknown, answer: (ack: unknown) => void) => void;

/** The server's end. A test of an executor writes what it answers. */
export class MemoryLink {
  /** Everything that the client sent, as JSON text. */
  readonly bytes: string[] = [];
  connected = false;
  /** While it is set, whoever connects is refused with it. */
  refusal: Failure | null = null;
  private readonly serve: Serve;
  private handlers: Handlers | null = null;
  private wanted = false;

  constructor(serve: Serve) {
    this.serve = serve;
  }

  readonly connect: Connect = (handlers) => {
    this.handlers = handlers;
    return {
      open: () => {
        this.wanted = true;
        this.restore();
      },
      close: () => {
        this.wanted = false;
        this.connected = false;
      },
      emit: (event, payload, answered) => this.carry(event, payload, answered),
    };
  };

  /** The connection comes back, if the client still wants it. */
  restore(): void {
    if (this.connected || !this.wanted) return;
    if (this.refusal) this.refuse(this.refusal);
    else {
      this.connected = true;
      this.handlers?.opened();
    }
  }

  cut(): void {
    if (!this.connected) return;
    this.connected = false;
    this.handlers?.closed();
  }

  refuse(error: Failure): void {
    this.connected = false;
    this.wanted = false;
    this.handlers?.refused(error);
  }

  /** Sends a server event. `answered` is called with what the client answers. */
  send(message: ServerMessage, answered: (value: unknown) => void = () => {}): void {
    if (!this.connected) return;
    this.handlers?.received(copy(message), (value) => answered(this.record(value)));
  }

  private carry(event: string, payload: unknown, answered: (ack: unknown) => void): void {
    if (!this.connected) return;
    this.serve(event, this.record(payload), (ack) => {
      if (this.connected) answered(copy(ack));
    });
  }

  private record<T>(value: T): T {
    const text = JSON.stringify(value);
    this.bytes.push(text);
    return JSON.parse(text) as T;
  }
}

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
