/** The viewer's transport over Socket.IO: the page's only file that knows socket.io-client (C1 to C3, C6). */

// biome-ignore lint/style/noRestrictedImports: a viewer has a socket of its own, beside the executor's
import { io, type Socket } from "socket.io-client";
import { type Connect, ERRORS, type Failure, type Handlers, type ServerMessage } from "../../src/index";

const PROTOCOL = 1;
/** The server has ended the connection itself: then the library does not come back on its own. */
const RETURN_AFTER = 1000;

/** The server refuses with an error's code as the message. */
function refusal({ message }: Error): Failure {
  const known = Object.entries(ERRORS).find(([code]) => code === message)?.[1];
  return { code: message, message: known?.message ?? message, retryable: true };
}

/** While the library is at it, it must not be told so again: it would greet twice, and be sent away for good. */
const connect = (socket: Socket): void => {
  if (!socket.active) socket.connect();
};

function listen(socket: Socket, handlers: Handlers, wanted: () => boolean): void {
  socket.on("connect", () => handlers.opened());
  socket.on("disconnect", (reason) => {
    if (reason === "io client disconnect") return;
    handlers.closed();
    if (reason === "io server disconnect") setTimeout(() => wanted() && connect(socket), RETURN_AFTER);
  });
  // `active`: the network failed, and the library tries again. Otherwise the server has refused.
  socket.on("connect_error", (error) =>
    socket.active ? handlers.closed() : handlers.refused(refusal(error)),
  );
  socket.on("events", (message: ServerMessage, answer?: (value: unknown) => void) =>
    handlers.received(message, (value) => answer?.(value)),
  );
}

/** A connection to the page's own server; the session's cookie says who it is. */
export const connectTo =
  (version: string): Connect =>
  (handlers) => {
    const socket = io({
      path: "/ws/socket.io",
      transports: ["websocket"],
      auth: { client: { name: "page", version, protocol: PROTOCOL } },
      autoConnect: false,
      reconnectionDelay: 250,
      reconnectionDelayMax: 5000,
    });
    let wanted = false;
    listen(socket, handlers, () => wanted);
    return {
      open: () => {
        wanted = true;
        connect(socket);
      },
      close: () => {
        wanted = false;
        socket.disconnect();
      },
      emit: (event, payload, answered) => {
        // The library would keep it, and send it first on the next connection.
        if (socket.connected) socket.emit(event, payload, answered);
      },
    };
  };
