/** The viewer's connection: it opens chats and passes events on. It runs no models. */

import {
  type Answer,
  type ChatOpen,
  type CompletionRequest,
  type Connect,
  ERRORS,
  type Failure,
  type OpenAck,
  type Refusal,
  type ServerMessage,
  type Transport,
} from "../../src/index";

export type Line = "connecting" | "connected" | "offline";

export interface ViewerHandlers {
  line(state: Line): void;
  message(message: ServerMessage): void;
  /** The server refused the connection. It is tried again, after growing pauses. */
  refused(error: Failure): void;
}

/** How many milliseconds to wait for the acknowledgement of an opened chat. */
const ACK_TIMEOUT = 15_000;
/** How many milliseconds to wait after a refusal: at first, and at most. */
const FIRST_RETRY = 2_000;
const LONGEST_RETRY = 30_000;

/** Refuses a model call, so that it goes to another device: a page only shows chats. */
export function notAnExecutor(request: CompletionRequest): Answer {
  const error = { code: "not_an_executor", ...ERRORS.not_an_executor };
  return { status: false, run_id: request.run_id, attempt: request.attempt, error };
}

export class ViewerSocket {
  private readonly transport: Transport;
  private retry: ReturnType<typeof setTimeout> | undefined;
  /** Refusals in a row. */
  private refusals = 0;

  constructor(connect: Connect, handlers: ViewerHandlers) {
    this.transport = connect({
      opened: () => {
        this.refusals = 0;
        handlers.line("connected");
      },
      closed: () => handlers.line("offline"),
      refused: (error) => {
        handlers.line("offline");
        handlers.refused(error);
        this.openLater();
      },
      received: (message, answer) => {
        if (message.type === "request:chat:completion") answer(notAnExecutor(message.data));
        else handlers.message(message);
      },
    });
  }

  open(): void {
    clearTimeout(this.retry);
    this.transport.open();
  }

  openChat(request: ChatOpen): Promise<OpenAck | Refusal> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no acknowledgement")), ACK_TIMEOUT);
      this.transport.emit("chat:open", request, (ack) => {
        clearTimeout(timer);
        resolve(ack as OpenAck | Refusal);
      });
    });
  }

  closeChat(chatId: number): void {
    this.transport.emit("chat:close", { chat_id: chatId }, () => {});
  }

  private openLater(): void {
    clearTimeout(this.retry);
    const pause = Math.min(FIRST_RETRY * 2 ** this.refusals, LONGEST_RETRY);
    this.retry = setTimeout(() => this.transport.open(), pause);
    this.refusals += 1;
  }

  stop(): void {
    clearTimeout(this.retry);
    this.transport.close();
  }
}
