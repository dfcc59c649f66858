// The relay of `relays.py` on Node's own socket.io server: `join` enters a room, `line` is emitted to that room.
// `node relay.mjs PORT`
import { createServer } from "node:http";
import { createRequire } from "node:module";
import process from "node:process";

const require = createRequire(new URL("../../executor_js/package.json", import.meta.url));
const { Server } = require("socket.io");

const http = createServer((_, response) => response.end("ok"));
const io = new Server(http, { perMessageDeflate: false });

io.on("connection", (socket) => {
  let room = "";
  socket.on("join", (name, acknowledge) => {
    room = name;
    socket.join(name);
    acknowledge(true);
  });
  socket.on("line", (text) => {
    socket.to(room).emit("line", text);
  });
});

http.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
