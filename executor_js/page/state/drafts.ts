/** What is being typed in each chat; it survives a reload, with the ids it was sent under. */

import { create } from "zustand";
import type { JsonValue } from "../lib/json";
import { tab } from "../lib/storage";

/** The ids that a message was sent under: sent again with them, it is stored once (R6). */
export interface Turn {
  readonly messageId: string;
  readonly runId: string;
  readonly parentId: string | null;
}

export interface Draft {
  readonly text: string;
  /** Set once it was sent, until the server has it. */
  readonly turn: Turn | null;
}

const EMPTY: Draft = { text: "", turn: null };

const isObject = (value: JsonValue | undefined): value is { readonly [key: string]: JsonValue } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function parseTurn(value: JsonValue | undefined): Turn | null {
  if (!isObject(value)) return null;
  const { messageId, runId, parentId } = value;
  if (typeof messageId !== "string" || typeof runId !== "string") return null;
  return { messageId, runId, parentId: typeof parentId === "string" ? parentId : null };
}

function stored(key: string): Draft {
  const value = tab.get(`draft.${key}`);
  if (!isObject(value) || typeof value.text !== "string") return EMPTY;
  return { text: value.text, turn: parseTurn(value.turn) };
}

export const useDrafts = create<Readonly<Record<string, Draft>>>()(() => ({}));

export const draftOf = (key: string): Draft => useDrafts.getState()[key] ?? stored(key);

export function keepDraft(key: string, draft: Draft): void {
  const { text, turn } = draft;
  tab.set(`draft.${key}`, text === "" ? null : { text, turn: turn && { ...turn } });
  useDrafts.setState({ [key]: draft });
}

/** The reader typed: another text is another message, with ids of its own. */
export function typed(key: string, text: string): void {
  const { turn, text: before } = draftOf(key);
  keepDraft(key, { text, turn: text === before ? turn : null });
}

export const dropDraft = (key: string): void => keepDraft(key, EMPTY);
