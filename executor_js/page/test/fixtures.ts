/** Chats, messages and events for the tests of the page. */

import type { Chat, ChatEvent, Message, OpenAck, Run, Snapshot } from "../../src/index";

const AT = "2026-01-01T00:00:00.000Z";

export const chat = (change: Partial<Chat> = {}): Chat => ({
  id: 1,
  title: "A chat",
  head_id: null,
  model: null,
  running: false,
  created_at: AT,
  updated_at: AT,
  ...change,
});

export const message = (id: string, parent: string | null, change: Partial<Message> = {}): Message => ({
  id,
  chat_id: 1,
  parent_id: parent,
  role: "user",
  content: "",
  status: "sent",
  error: null,
  reasoning: "",
  tool_calls: [],
  images: [],
  citations: [],
  partial: false,
  provider: null,
  model: null,
  run_id: null,
  prompt_tokens: null,
  completion_tokens: null,
  created_at: AT,
  updated_at: AT,
  ...change,
});

export const run = (id: string, messageId: string, change: Partial<Run> = {}): Run => ({
  id,
  chat_id: 1,
  message_id: messageId,
  state: "streaming",
  attempt: 1,
  model: "openai/one",
  provider: null,
  executor: null,
  error: null,
  finish_reason: null,
  created_at: AT,
  started_at: null,
  ended_at: null,
  ...change,
});

type Kind<T> = T extends ChatEvent ? Omit<T, "chat_id" | "seq" | "at"> : never;

export const event = (seq: number, what: Kind<ChatEvent>): ChatEvent => ({
  chat_id: 1,
  seq,
  at: AT,
  ...what,
});

export const delta = (seq: number, content: string, messageId = "a"): ChatEvent =>
  event(seq, { kind: "delta", run_id: "r", message_id: messageId, content });

export const snapshot = (change: Partial<Snapshot> = {}): Snapshot => ({
  chat: chat({ head_id: "a" }),
  messages: [message("u", null), message("a", "u", { role: "assistant", status: "streaming", run_id: "r" })],
  runs: [run("r", "a")],
  siblings: { u: ["u"], a: ["a"] },
  earlier: false,
  ...change,
});

export const opened = (seq: number, change: Partial<Snapshot> = {}): OpenAck => ({
  ok: true,
  snapshot: snapshot(change),
  events: null,
  seq,
});

export const resumed = (seq: number, events: ChatEvent[]): OpenAck => ({
  ok: true,
  snapshot: null,
  events,
  seq,
});
