/** The connection to a server over Socket.IO. No other file imports socket.io-client (C1 to C3, C6). */

import { io, type Socket } from "socket.io-client";
import { ERRORS, type ErrorCode } from "../errors.gen";
import { failure } from "../failures";
import type { Failure, ServerMessage } from "../protocol.gen";
import type { Connect, Handlers, Transport } from "./transport";

const PROTOCOL = 1;

/** An acknowledgement that comes later than this is void: socket.io then forgets the callback. In milliseconds. */
const FORGET_ACK = 120_000;

/**
 * socket.io does not reconnect after the server itself has ended the connection, so this module does. In
 * milliseconds.
 */
const RECONNECT_DELAY = 1_000;

export interface SocketOptions {
  /** The server's origin. */
  readonly url: string;
  /** An API token. A browser needs none: its session's cookie says who it is. */
  readonly token?: string | undefined;
  /** The only account that is meant: signed in to another one, the server refuses (C2). */
  readonly userId?: number | undefined;
  readonly client: { readonly name: string; readonly version: string };
}

export const socketIo =
  (options: SocketOptions): Connect =>
  (handlers) =>
    new SocketTransport(options, handlers);

class SocketTransport implements Transport {
  private readonly socket: Socket;
  private readonly handlers: Handlers;
  private wanted = false;

  constructor({ url, token, userId, client }: SocketOptions, handlers: Handlers) {
    this.handlers = handlers;
    const who = { ...client, protocol: PROTOCOL };
    this.socket = io(url, {
      path: "/ws/socket.io",
      transports: ["websocket"],
      auth: { client: who, ...(token && { token }), ...(userId && { user_id: userId }) },
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: 250,
      reconnectionDelayMax: 5_000,
    });
    this.listen();
  }

  open(): void {
    this.wanted = true;
    this.connect();
  }

  close(): void {
    this.wanted = false;
    this.socket.disconnect();
  }

  emit(event: string, payload: unknown, answered: (ack: unknown) => void): void {
    // Without a connection socket.io would keep the event, and send it first on the next connection.
    if (!this.socket.connected) return;
    this.socket.timeout(FORGET_ACK).emit(event, payload, (error: Error | null, ack: unknown) => {
      if (!error) answered(ack);
    });
  }

  private listen(): void {
    const { socket, handlers } = this;
    socket.on("connect", () => handlers.opened());
    socket.on("disconnect", (reason) => this.disconnected(reason));
    socket.on("connect_error", (error) => this.failed(error));
    socket.on("events", (message: ServerMessage, answer?: (value: unknown) => void) =>
      handlers.received(message, (value) => answer?.(value)),
    );
  }

  private disconnected(reason: string): void {
    if (!this.wanted) return;
    this.handlers.closed();
    if (reason === "io server disconnect") setTimeout(() => this.reconnect(), RECONNECT_DELAY);
  }

  private reconnect(): void {
    if (this.wanted) this.connect();
  }

  /**
   * socket.io must not be told to connect while it does: it would send its greeting twice, which the server refuses.
   */
  private connect(): void {
    if (!this.socket.active) this.socket.connect();
  }

  private failed(error: Error): void {
    if (!this.wanted) return;
    // `active` means that the network failed and socket.io tries again. Otherwise the server has refused.
    this.wanted = this.socket.active;
    if (this.wanted) this.handlers.closed();
    else this.handlers.refused(refusalOf(error));
  }
}

/** The server refuses with an error's code as the message. Something in between may refuse with any other text. */
function refusalOf({ message, data }: Error & { data?: { message?: unknown } }): Failure {
  const explained = typeof data?.message === "string" ? data.message : undefined;
  if (isCode(message)) return failure(message, explained === message ? undefined : explained);
  return failure("internal", explained ?? `The server refused the connection. It said: ${message}`);
}

const isCode = (text: string): text is ErrorCode => Object.hasOwn(ERRORS, text);
