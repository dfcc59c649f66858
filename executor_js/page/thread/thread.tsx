/** The messages of a chat, oldest first; it stays at the end while an answer grows, unless the reader scrolled up. */

import { ArrowDown } from "lucide-react";
import { type ReactNode, useEffect } from "react";
import { StickToBottom, useStickToBottomContext } from "use-stick-to-bottom";
import type { Message } from "../../src/index";
import { loadEarlier } from "../state/live";
import { attempt } from "../state/notice";
import { Button, IconButton } from "../ui/button";
import { type ChatView, isActive } from "../viewer/chat-view";
import { MessageRow } from "./message-row";
import { UserBubble } from "./user-message";

function ToEnd(): ReactNode {
  const { isAtBottom, scrollToBottom } = useStickToBottomContext();
  if (isAtBottom) return null;
  return (
    <IconButton
      label="To the end"
      onClick={() => void scrollToBottom()}
      className="absolute inset-x-0 bottom-3 mx-auto size-9 rounded-full border bg-raised shadow-md"
    >
      <ArrowDown />
    </IconButton>
  );
}

/** A message that was just sent is scrolled to. */
function Follow({ sent }: { sent: boolean }): ReactNode {
  const { scrollToBottom } = useStickToBottomContext();
  useEffect(() => {
    if (sent) void scrollToBottom();
  }, [sent, scrollToBottom]);
  return null;
}

interface ThreadProps {
  readonly view: ChatView | null;
  readonly messages: readonly Message[];
  /** The text of a message that is on its way. */
  readonly pending: string | null;
}

export function Thread({ view, messages, pending }: ThreadProps): ReactNode {
  const first = messages[0];
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  return (
    <StickToBottom
      className="relative min-h-0 flex-1"
      initial="instant"
      resize={calm ? "instant" : "smooth"}
      role="log"
      aria-label="Messages"
      aria-live="off"
    >
      <StickToBottom.Content className="mx-auto flex w-full max-w-3xl flex-col gap-7 px-4 pt-2 pb-8 md:px-6">
        {view?.earlier && first && (
          <Button
            look="quiet"
            className="self-center text-muted-foreground"
            onClick={() => attempt(() => loadEarlier(first.id))}
          >
            Show earlier messages
          </Button>
        )}
        {messages.map((message) => {
          const run = message.run_id === null ? undefined : view?.runs[message.run_id];
          return (
            <MessageRow
              key={message.id}
              message={message}
              siblings={view?.siblings[message.id]}
              run={run && isActive(run) ? run : undefined}
              last={message === messages.at(-1)}
            />
          );
        })}
        {pending !== null && (
          <div data-testid="message" data-role="user" data-status="sending" className="opacity-60">
            <UserBubble text={pending} />
          </div>
        )}
      </StickToBottom.Content>
      <Follow sent={pending !== null} />
      <ToEnd />
    </StickToBottom>
  );
}
