/** The list of chats: pages of it, newest first, read again when the server says that it changed. */

import { create } from "zustand";
import type { Chat } from "../../src/index";
import { api, sentence } from "../lib/api";
import { coalesced } from "../lib/coalesce";

interface Chats {
  readonly items: readonly Chat[];
  readonly cursor: string | null;
  readonly state: "loading" | "ready" | "failed";
  readonly error: string | null;
}

export const useChats = create<Chats>()(() => ({ items: [], cursor: null, state: "loading", error: null }));

/** Counts readings: only the newest one is shown. */
let reading = 0;

/** Reads as many pages as are shown. */
export const refreshChats = coalesced(async () => {
  reading += 1;
  const mine = reading;
  const wanted = Math.max(1, useChats.getState().items.length);
  try {
    let page = await api.chats(null);
    const items = [...page.items];
    while (page.next_cursor !== null && items.length < wanted) {
      page = await api.chats(page.next_cursor);
      items.push(...page.items);
    }
    if (mine === reading) useChats.setState({ items, cursor: page.next_cursor, state: "ready", error: null });
  } catch (failure) {
    if (mine === reading) useChats.setState({ state: "failed", error: sentence(failure) });
  }
});

export async function moreChats(): Promise<void> {
  const { cursor, state } = useChats.getState();
  if (cursor === null || state !== "ready") return;
  const mine = reading;
  useChats.setState({ state: "loading" });
  try {
    const page = await api.chats(cursor);
    if (mine !== reading) return;
    const known = new Set(useChats.getState().items.map((chat) => chat.id));
    const items = [...useChats.getState().items, ...page.items.filter((chat) => !known.has(chat.id))];
    useChats.setState({ items, cursor: page.next_cursor, state: "ready" });
  } catch (failure) {
    if (mine === reading) useChats.setState({ state: "failed", error: sentence(failure) });
  }
}

export async function renameChat(id: number, title: string): Promise<void> {
  const chat = await api.patchChat(id, { title });
  useChats.setState(({ items }) => ({ items: items.map((item) => (item.id === id ? chat : item)) }));
}

export async function deleteChat(id: number): Promise<void> {
  await api.deleteChat(id);
  useChats.setState(({ items }) => ({ items: items.filter((item) => item.id !== id) }));
}
