/** Sends what was typed, asks again and stops; the reader's message is shown before the server has it. */

import { create } from "zustand";
import type { NewRun } from "../../src/index";
import { hostState } from "../executor";
import { ApiError, api, sentence } from "../lib/api";
import { uuid } from "../lib/ids";
import { draftOf, dropDraft, keepDraft, type Turn } from "./drafts";
import { chatKey } from "./models";
import { go } from "./route";

export interface Pending extends Turn {
  readonly text: string;
  readonly state: "sending" | "sent" | "failed";
  readonly error: string | null;
  /** The server has an answer for this model, but not with these ids: e.g. there is no such model. */
  readonly code: string | null;
}

/** By chat: the message that is on its way, or that could not be sent. */
export const useOutbox = create<Readonly<Record<string, Pending | null>>>()(() => ({}));

const keep = (key: string, pending: Pending | null): void => useOutbox.setState({ [key]: pending });

const TITLE = 60;

/** The first line of the first message. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n", 1)[0] ?? "";
  return line.length <= TITLE ? line : `${line.slice(0, TITLE - 1).trimEnd()}…`;
}

function common(model: string, runId: string): NewRun {
  return { model, run_id: runId, prefer_executor_id: hostState()?.executorId ?? null };
}

/** A new chat gets its id from the server; what is under way moves there. */
async function chatFor(chatId: number | null, pending: Pending): Promise<number> {
  if (chatId !== null) return chatId;
  const chat = await api.newChat(titleOf(pending.text));
  keepDraft(chatKey(chat.id), { text: pending.text, turn: pending });
  dropDraft("new");
  keep(chatKey(chat.id), pending);
  keep("new", null);
  if (location.pathname === "/") go(chat.id);
  return chat.id;
}

/** Sends the draft of a chat; `head` is the message it answers. */
export async function send(chatId: number | null, head: string | null, model: string): Promise<void> {
  let key = chatKey(chatId);
  const { text, turn } = draftOf(key);
  if (text.trim() === "" || useOutbox.getState()[key]?.state === "sending") return;
  const ids = turn ?? { messageId: uuid(), runId: uuid(), parentId: head };
  const pending: Pending = { ...ids, text, state: "sending", error: null, code: null };
  keep(key, pending);
  keepDraft(key, { text, turn: ids });
  try {
    const id = await chatFor(chatId, pending);
    key = chatKey(id);
    await api.startRun(id, {
      ...common(model, ids.runId),
      message: { id: ids.messageId, content: text },
      // Left out, the server takes the chat's head: null would begin another branch at the root.
      ...(ids.parentId === null ? {} : { parent_id: ids.parentId }),
      mode: "reply",
    });
    dropDraft(key);
    keep(key, { ...pending, state: "sent" });
  } catch (failure) {
    failed(key, pending, failure);
  }
}

function failed(key: string, pending: Pending, failure: unknown): void {
  const code = failure instanceof ApiError ? failure.code : null;
  keep(key, { ...pending, state: "failed", error: sentence(failure), code });
  // Refused for good under these ids: the next try is a new message.
  const refused = failure instanceof ApiError && !failure.retryable;
  if (refused) keepDraft(key, { text: pending.text, turn: null });
}

/** The server has the message: nothing is pending, and it is not typed any more. */
export function settle(key: string, messageId: string): void {
  const { turn } = draftOf(key);
  if (turn?.messageId === messageId) dropDraft(key);
  if (useOutbox.getState()[key]?.messageId === messageId) keep(key, null);
}

export const dismissFailure = (key: string): void => keep(key, null);

/** Another answer to a message of the user. */
export const regenerate = (chatId: number, userMessageId: string, model: string): Promise<unknown> =>
  api.startRun(chatId, { ...common(model, uuid()), mode: "regenerate", parent_id: userMessageId });

/** Goes on with an answer that was cut short. */
export const goOn = (chatId: number, messageId: string, model: string): Promise<unknown> =>
  api.startRun(chatId, { ...common(model, uuid()), mode: "continue", parent_id: messageId });

/** Ends runs, from whatever device they run on. */
export const stopRuns = (runIds: readonly string[]): Promise<unknown> =>
  Promise.all(runIds.map((id) => api.stopRun(id)));
