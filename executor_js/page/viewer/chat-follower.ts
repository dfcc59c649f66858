/**
 * Follows one chat without gaps: it opens it, orders its events, and opens it again when one is missing (V1, V2,
 * V6).
 */

import type { ChatEvent, ChatOpen, Failure, MessageAt, OpenAck, Refusal } from "../../src/index";
import { type ChatView, completed, fold, fromSnapshot, headIsHere, partialId } from "./chat-view";

export type Phase = "opening" | "open" | "offline" | "gone" | "failed";

export interface FollowerPort {
  /** Sends `chat:open`. Rejects if the socket is gone or the server does not answer. */
  open(request: ChatOpen): Promise<OpenAck | Refusal>;
  /** Reads a whole message by HTTP. */
  whole(messageId: string): Promise<MessageAt>;
  /** Runs `act` after `ms` milliseconds. */
  later(ms: number, act: () => void): void;
  /** Something that is shown has changed. */
  changed(): void;
}

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;

export class ChatFollower {
  readonly chatId: number;
  view: ChatView | null = null;
  phase: Phase = "offline";
  error: Failure | null = null;
  /** Why the beginning of a message could not be read the last time, while it is tried again. */
  missing: string | null = null;

  private readonly port: FollowerPort;
  /** Events that came before the acknowledgement of the opening. */
  private held: ChatEvent[] = [];
  /** Counts the openings, so that an answer to an older one is ignored. */
  private turn = 0;
  /** How many openings in a row have brought nothing new. */
  private fruitless = 0;
  private closed = false;
  /** Counts the snapshots, so that what was asked for to complete an older one is ignored. */
  private snapshots = 0;

  constructor(chatId: number, port: FollowerPort) {
    this.chatId = chatId;
    this.port = port;
  }

  /** The socket is connected, for the first time or again. The chat is opened after the last known event. */
  connected(): void {
    this.fruitless = 0;
    this.open(false);
  }

  disconnected(): void {
    this.turn += 1;
    if (this.phase !== "gone") this.phase = "offline";
    this.port.changed();
  }

  /** The server asks to open again (V5), or the reader has changed the branch, which needs a snapshot (`fresh`). */
  reopen(fresh = false): void {
    if (this.phase !== "offline" && this.phase !== "gone") this.open(fresh);
  }

  /** The server's newest `seq` of this chat (V6). */
  head(seq: number): void {
    if (this.phase === "open" && this.view && seq > this.view.seq) this.open(false);
  }

  /** An event has come. While an opening is under way, it is kept for later. */
  event(event: ChatEvent): void {
    if (this.phase === "opening") this.held.push(event);
    else if (this.phase === "open") this.take([event]);
  }

  /** The chat was deleted. */
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
    if (ack.snapshot) this.begin(fromSnapshot(ack.snapshot, ack.seq));
    const held = this.held.filter((event) => event.seq > ack.seq).sort((a, b) => a.seq - b.seq);
    this.held = [];
    this.take([...(ack.events ?? []), ...held]);
  }

  private begin(view: ChatView): void {
    this.view = view;
    this.missing = null;
    this.snapshots += 1;
    this.complete(this.snapshots, FIRST_PAUSE);
  }

  /** Reads what a snapshot had no room for. If that fails, it is tried again after growing pauses. */
  private complete(snapshot: number, pause: number): void {
    const id = this.view && partialId(this.view);
    if (id === null || this.closed || snapshot !== this.snapshots) return;
    this.port.whole(id).then(
      (answer) => {
        if (!this.view || this.closed || snapshot !== this.snapshots) return;
        this.view = completed(this.view, answer);
        this.missing = null;
        this.port.changed();
      },
      (error: unknown) => {
        if (this.closed || snapshot !== this.snapshots) return;
        this.missing = error instanceof Error ? error.message : String(error);
        this.port.changed();
        this.port.later(pause, () => this.complete(snapshot, Math.min(2 * pause, LONGEST_PAUSE)));
      },
    );
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

  /** Folds in the events in order. If one is missing, the chat is opened again. */
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

  /** Opens again: at once the first time, and then after growing pauses, so that it does not loop without rest. */
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
