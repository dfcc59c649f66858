/** Follows one chat without gaps: opens it, holds, drops and reopens as V1, V2 and V6 say. Knows no socket. */

import type { ChatEvent, ChatOpen, Failure, OpenAck, Refusal } from "../../src/index";
import { type ChatView, fold, fromSnapshot, headIsHere } from "./chat-view";

export type Phase = "opening" | "open" | "offline" | "gone" | "failed";

export interface FollowerPort {
  /** Sends `chat:open`; rejects when the socket went away or the server did not answer. */
  open(request: ChatOpen): Promise<OpenAck | Refusal>;
  /** Runs `act` after `ms` milliseconds. */
  later(ms: number, act: () => void): void;
  /** Something that is shown changed. */
  changed(): void;
}

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;

export class ChatFollower {
  readonly chatId: number;
  view: ChatView | null = null;
  phase: Phase = "offline";
  error: Failure | null = null;

  private readonly port: FollowerPort;
  /** Events that came while an acknowledgement is awaited. */
  private held: ChatEvent[] = [];
  /** Numbers the openings: an answer to an older one is not for us any more. */
  private turn = 0;
  /** Openings in a row that brought nothing new. */
  private fruitless = 0;
  private closed = false;

  constructor(chatId: number, port: FollowerPort) {
    this.chatId = chatId;
    this.port = port;
  }

  /** The socket is there, for the first time or again: open, after what is known. */
  connected(): void {
    this.fruitless = 0;
    this.open(false);
  }

  disconnected(): void {
    this.turn += 1;
    if (this.phase !== "gone") this.phase = "offline";
    this.port.changed();
  }

  /** Told to open again (`chat:reopen`, V5), or the reader changed the branch (`fresh`: from a snapshot). */
  reopen(fresh = false): void {
    if (this.phase !== "offline" && this.phase !== "gone") this.open(fresh);
  }

  /** The server's newest `seq` of this chat (V6). */
  head(seq: number): void {
    if (this.phase === "open" && this.view && seq > this.view.seq) this.open(false);
  }

  event(event: ChatEvent): void {
    if (this.phase === "opening") this.held.push(event);
    else if (this.phase === "open") this.take([event]);
  }

  gone(): void {
    this.turn += 1;
    this.phase = "gone";
    this.view = null;
    this.port.changed();
  }

  close(): void {
    this.turn += 1;
    this.closed = true;
  }

  private open(fresh: boolean): void {
    if (this.closed) return;
    this.turn += 1;
    const turn = this.turn;
    this.phase = "opening";
    this.held = [];
    const after = fresh ? null : (this.view?.seq ?? null);
    const request = after === null ? { chat_id: this.chatId } : { chat_id: this.chatId, after };
    this.port.changed();
    this.port.open(request).then(
      (ack) => turn === this.turn && this.acknowledged(ack),
      () => turn === this.turn && this.again(),
    );
  }

  private acknowledged(ack: OpenAck | Refusal): void {
    if (!ack.ok) this.refused(ack.error);
    else this.opened(ack);
  }

  private opened(ack: OpenAck): void {
    this.phase = "open";
    this.error = null;
    if (ack.snapshot) this.view = fromSnapshot(ack.snapshot, ack.seq);
    const held = this.held.filter((event) => event.seq > ack.seq).sort((a, b) => a.seq - b.seq);
    this.held = [];
    this.take([...(ack.events ?? []), ...held]);
  }

  private refused(error: Failure): void {
    this.error = error;
    if (error.code === "not_found") this.gone();
    else if (error.retryable) this.again();
    else {
      this.phase = "failed";
      this.port.changed();
    }
  }

  /** Folds events that follow; the first that does not makes the viewer open again. */
  private take(events: readonly ChatEvent[]): void {
    for (const event of events) {
      if (!this.view || event.seq > this.view.seq + 1) {
        this.again();
        return;
      }
      if (event.seq > this.view.seq) this.view = fold(this.view, event);
    }
    if (this.view && !headIsHere(this.view)) {
      this.again(true);
      return;
    }
    this.fruitless = 0;
    this.port.changed();
  }

  /** Opens again: at once the first time, then with growing pauses, so that nothing spins. */
  private again(fresh = false): void {
    this.fruitless += 1;
    if (this.fruitless === 1) {
      this.open(fresh);
      return;
    }
    this.turn += 1;
    const turn = this.turn;
    this.phase = "opening";
    const pause = Math.min(FIRST_PAUSE * 2 ** (this.fruitless - 2), LONGEST_PAUSE);
    this.port.changed();
    this.port.later(pause, () => turn === this.turn && this.open(fresh));
  }
}
