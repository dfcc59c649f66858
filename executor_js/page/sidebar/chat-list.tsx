/** The chats, newest first, under the day they were used; more are read when the end comes into sight. */

import { Fragment, type ReactNode, useEffect, useRef } from "react";
import { day } from "../lib/time";
import { moreChats, refreshChats, useChats } from "../state/chats";
import { useRoute } from "../state/route";
import { Button } from "../ui/button";
import { ChatItem } from "./chat-item";

/** Comes into sight at the end of the list. */
function End(): ReactNode {
  const ref = useRef<HTMLDivElement>(null);
  const count = useChats((state) => state.items.length);
  // biome-ignore lint/correctness/useExhaustiveDependencies: looks again after each page, it may still be in sight
  useEffect(() => {
    const end = ref.current;
    if (!end) return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) void moreChats();
    });
    observer.observe(end);
    return () => observer.disconnect();
  }, [count]);
  return <div ref={ref} className="h-8" aria-hidden="true" />;
}

const Failed = ({ error }: { error: string }): ReactNode => (
  <div className="px-3 py-2 text-muted-foreground text-sm">
    <p>{error}</p>
    <Button className="mt-2" onClick={() => void refreshChats()}>
      Try again
    </Button>
  </div>
);

export function ChatList({ onPick }: { onPick: () => void }): ReactNode {
  const { items, cursor, state, error } = useChats();
  const current = useRoute((route) => route.chatId);
  const now = new Date();
  let heading = "";
  return (
    <nav aria-label="Chats" className="min-h-0 flex-1 overflow-y-auto px-2 pb-3">
      {state === "ready" && items.length === 0 && (
        <p className="px-3 py-2 text-faint text-sm">Your chats will be listed here.</p>
      )}
      <ul>
        {items.map((chat) => {
          const before = heading;
          heading = day(chat.updated_at, now);
          return (
            <Fragment key={chat.id}>
              {heading !== before && (
                <li className="px-3 pt-4 pb-1.5 font-medium text-faint text-xs">{heading}</li>
              )}
              <ChatItem chat={chat} current={chat.id === current} onPick={onPick} />
            </Fragment>
          );
        })}
      </ul>
      {state === "failed" && error && <Failed error={error} />}
      {cursor !== null && <End />}
    </nav>
  );
}
