// The plain executor of the design's first article, statement for statement, with its `chatCompletion` filled in.
// Arguments: the server's URL, the upstream's URL. Prints its session id when it is connected.
import { createRequire } from "node:module";
import process from "node:process";

const require = createRequire(new URL("../../executor_js/package.json", import.meta.url));
const { io } = require("socket.io-client");

const [SERVER_URL, OPENAI_API_URL] = process.argv.slice(2);
const OPENAI_API_KEY = "sk-of-the-test";

async function chatCompletion(key, form_data, url) {
  const controller = new AbortController();
  const res = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify(form_data),
    signal: controller.signal,
  });
  return [res, controller];
}

const $socket = io(SERVER_URL, { path: "/ws/socket.io", transports: ["websocket"], reconnection: false });

const chatEventHandler = async (event, cb) => {
  const { type, data } = event;
  if (type === "chats:changed") {
    // Nothing to show here.
  }
  else if (type === 'request:chat:completion') {
    const { session_id, channel, form_data, model } = data;

    const [res, controller] = await chatCompletion(
      OPENAI_API_KEY,
      form_data,
      OPENAI_API_URL
    );

    if (form_data?.stream ?? false) {
      cb({ status: true }); // ✅ 回调给后端（非阻塞）
      const reader = res.body.getReader();
      const decoder = new TextDecoder();
      while (true) {
        const { done, value } = await reader.read();
        if (done) break;
        const chunk = decoder.decode(value, { stream: true });
        const lines = chunk.split('\n').filter((line) => line.trim() !== '');
        for (const line of lines) {
          $socket?.emit(channel, line); // 推送流式输出
        }
      }
    } else {
      const data = await res.json();
      cb(data); // ✅ 非流式模式，直接返回结果
    }
  }
};

$socket.on("events", chatEventHandler);
$socket.on("connect", () => console.log($socket.id));
$socket.on("connect_error", (error) => console.log(`refused: ${error.message}`));
