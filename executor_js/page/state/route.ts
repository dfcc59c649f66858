/** The address bar: `/` is a new chat, `/c/<id>` an open one. */

import { create } from "zustand";

function parse(path: string): number | null {
  const id = /^\/c\/(\d+)\/?$/.exec(path)?.[1];
  return id === undefined ? null : Number(id);
}

export const useRoute = create<{ chatId: number | null }>()(() => ({ chatId: parse(location.pathname) }));

addEventListener("popstate", () => useRoute.setState({ chatId: parse(location.pathname) }));

export function go(chatId: number | null, how: "push" | "replace" = "push"): void {
  const path = chatId === null ? "/" : `/c/${chatId}`;
  if (path !== location.pathname) {
    if (how === "push") history.pushState(null, "", path);
    else history.replaceState(null, "", path);
  }
  useRoute.setState({ chatId });
}
