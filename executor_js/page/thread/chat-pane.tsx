/** The open chat: its title, its messages, and the composer below them. */

import { Menu } from "lucide-react";
import { type ReactNode, useEffect, useMemo } from "react";
import type { Message } from "../../src/index";
import { Composer } from "../composer/composer";
import { draftOf, useDrafts } from "../state/drafts";
import { useLive } from "../state/live";
import { chatKey } from "../state/models";
import { go } from "../state/route";
import { settle, useOutbox } from "../state/send";
import { Banner } from "../ui/banner";
import { Button, IconButton } from "../ui/button";
import { activeRuns, branch, type ChatView } from "../viewer/chat-view";
import { stopAll } from "./actions";
import { Thread } from "./thread";
import { Welcome } from "./welcome";

const NONE: readonly Message[] = [];

/** Escape stops the answer, unless something else is open that it closes. */
function useEscape(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
      if (!document.querySelector("dialog[open]")) stopAll();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function useView(chatId: number | null): ChatView | null {
  return useLive((state) => (state.chatId === chatId ? state.view : null));
}

/** The message that is on its way, as long as the server has not shown it. */
function usePending(chatId: number | null, view: ChatView | null): string | null {
  const key = chatKey(chatId);
  const pending = useOutbox((state) => state[key] ?? null);
  // After a reload nothing is pending any more, but the draft knows under which id it was sent.
  const drafted = useDrafts((state) => (state[key] ?? draftOf(key)).turn?.messageId ?? null);
  const sentId = pending?.messageId ?? drafted;
  const arrived = sentId !== null && view?.messages[sentId] !== undefined;
  useEffect(() => {
    if (arrived && sentId !== null) settle(key, sentId);
  }, [key, arrived, sentId]);
  return pending && !arrived && pending.state !== "failed" ? pending.text : null;
}

const Gone = (): ReactNode => (
  <div className="grid flex-1 content-center justify-items-center gap-4 p-6 text-center">
    <p className="text-muted-foreground">There is no such chat. It may have been deleted.</p>
    <Button onClick={() => go(null)}>New chat</Button>
  </div>
);

interface PaneProps {
  readonly chatId: number | null;
  readonly onMenu: () => void;
}

export function ChatPane({ chatId, onMenu }: PaneProps): ReactNode {
  const view = useView(chatId);
  const phase = useLive((state) => (state.chatId === chatId ? state.phase : "opening"));
  const error = useLive((state) => (state.chatId === chatId ? state.error : null));
  const messages = useMemo(() => (view ? branch(view) : NONE), [view]);
  const runs = useMemo(() => (view ? activeRuns(view) : []), [view]);
  const pending = usePending(chatId, view);
  useEscape();
  const empty = messages.length === 0 && pending === null;
  const blank = empty && (chatId === null || view !== null);
  return (
    <main className="flex min-w-0 flex-1 flex-col">
      <header className="flex h-14 shrink-0 items-center gap-2 px-3 md:px-6">
        <IconButton label="Chats" className="md:hidden" onClick={onMenu} data-testid="menu">
          <Menu />
        </IconButton>
        <h1 className="truncate font-medium text-sm" dir="auto">
          {chatId === null ? "" : view?.chat.title || ""}
        </h1>
      </header>
      {phase === "gone" && chatId !== null ? (
        <Gone />
      ) : (
        <>
          {blank ? (
            <Welcome />
          ) : (
            <Thread key={chatKey(chatId)} view={view} messages={messages} pending={pending} />
          )}
          {phase === "failed" && error && (
            <div className="mx-auto w-full max-w-3xl px-4 pb-2">
              <Banner kind="error">{error}</Banner>
            </div>
          )}
          <Composer
            key={`composer-${chatKey(chatId)}`}
            chatId={chatId}
            chatModel={view?.chat.model ?? null}
            head={messages.at(-1)?.id ?? null}
            runs={runs}
            opening={chatId !== null && view === null}
          />
        </>
      )}
    </main>
  );
}
