/** The signed-in page: the list of chats beside the open one, and the settings over both. */

import { type ReactNode, useEffect, useState } from "react";
import type { Account } from "../src/index";
import { preloadMarkdown } from "./markdown/lazy";
import { SettingsDialog } from "./settings/settings-dialog";
import { Sidebar } from "./sidebar/sidebar";
import { useChats } from "./state/chats";
import { followChat, startLive, stopLive, useLive } from "./state/live";
import { useRoute } from "./state/route";
import { type SettingsPage, useSettings } from "./state/settings";
import { ChatPane } from "./thread/chat-pane";
import { Notice } from "./ui/notice";

function useTitle(chatId: number | null): void {
  const listed = useChats((state) => state.items.find((chat) => chat.id === chatId)?.title);
  const open = useLive((state) => (state.chatId === chatId ? state.view?.chat.title : undefined));
  const title = (chatId === null ? "" : (open ?? listed)) || "New chat";
  useEffect(() => {
    document.title = `${title} · Keyside`;
  }, [title]);
}

export function Workspace({ account }: { account: Account }): ReactNode {
  const chatId = useRoute((state) => state.chatId);
  const settings: SettingsPage | null = useSettings((state) => state.page);
  const [drawer, setDrawer] = useState(false);
  useEffect(() => {
    startLive();
    preloadMarkdown();
    return stopLive;
  }, []);
  useEffect(() => followChat(chatId), [chatId]);
  useTitle(chatId);
  return (
    <div className="flex h-full">
      <Sidebar open={drawer} onClose={() => setDrawer(false)} />
      <ChatPane chatId={chatId} onMenu={() => setDrawer(true)} />
      {settings && <SettingsDialog page={settings} account={account} />}
      <Notice />
    </div>
  );
}
