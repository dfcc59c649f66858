/** The viewer's own connection: asks for chats, hands on what comes, and never runs a model. */

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
  /** Refused at connect; it is tried again after a while. */
  refused(error: Failure): void;
}

/** Without an acknowledgement for so long, in milliseconds, a chat is asked for again. */
const ACK_TIMEOUT = 15_000;
const RETRY = 2000;

/** A page shows chats: a call that reaches it anyway goes to another device. */
export function notAnExecutor(request: CompletionRequest): Answer {
  const error = { code: "not_an_executor", ...ERRORS.not_an_executor };
  return { status: false, run_id: request.run_id, attempt: request.attempt, error };
}

export class ViewerSocket {
  private readonly transport: Transport;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(connect: Connect, handlers: ViewerHandlers) {
    this.transport = connect({
      opened: () => handlers.line("connected"),
      closed: () => handlers.line("offline"),
      refused: (error) => {
        handlers.line("offline");
        handlers.refused(error);
        clearTimeout(this.retry);
        this.retry = setTimeout(() => this.transport.open(), RETRY);
      },
      received: (message, answer) => {
        if (message.type === "request:chat:completion") answer(notAnExecutor(message.data));
        else handlers.message(message);
      },
    });
  }

  open(): void {
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

  stop(): void {
    clearTimeout(this.retry);
    this.transport.close();
  }
}
