/** One chat of the list: opens it, renames it in place, deletes it. */

import { Pencil, Trash2 } from "lucide-react";
import { memo, type ReactNode, useState } from "react";
import type { Chat } from "../../src/index";
import { deleteChat, renameChat } from "../state/chats";
import { attempt } from "../state/notice";
import { go } from "../state/route";
import { IconButton } from "../ui/button";
import { Confirm } from "../ui/confirm";

interface RenameProps {
  readonly chat: Chat;
  readonly onDone: () => void;
}

function Rename({ chat, onDone }: RenameProps): ReactNode {
  const [title, setTitle] = useState(chat.title);
  const save = (): void => {
    const wanted = title.trim();
    onDone();
    if (wanted !== "" && wanted !== chat.title) attempt(() => renameChat(chat.id, wanted));
  };
  return (
    <input
      // biome-ignore lint/a11y/noAutofocus: the reader has just asked to type here
      autoFocus
      aria-label="Title"
      data-testid="chat-title"
      maxLength={300}
      value={title}
      onChange={(event) => setTitle(event.target.value)}
      onFocus={(event) => event.target.select()}
      onBlur={save}
      onKeyDown={(event) => {
        if (event.nativeEvent.isComposing) return;
        if (event.key === "Enter") event.currentTarget.blur();
        if (event.key === "Escape") onDone();
      }}
      className="min-h-9 w-full rounded-lg border bg-raised px-3 text-base md:text-sm"
    />
  );
}

interface ChatItemProps {
  readonly chat: Chat;
  readonly current: boolean;
  readonly onPick: () => void;
}

function Item({ chat, current, onPick }: ChatItemProps): ReactNode {
  const [mode, setMode] = useState<"shown" | "renaming" | "deleting">("shown");
  const title = chat.title || "New chat";
  const remove = (): void =>
    attempt(async () => {
      await deleteChat(chat.id);
      if (current) go(null, "replace");
    });
  if (mode === "renaming") {
    return (
      <li className="py-px">
        <Rename chat={chat} onDone={() => setMode("shown")} />
      </li>
    );
  }
  return (
    <li
      data-testid="chat-item"
      data-chat-id={chat.id}
      className={`group relative flex items-center rounded-lg ${current ? "bg-muted" : "hover:bg-muted/60"}`}
    >
      <a
        href={`/c/${chat.id}`}
        aria-current={current ? "page" : undefined}
        className="flex min-h-9 min-w-0 flex-1 items-center gap-2 rounded-lg px-3 text-sm"
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          go(chat.id);
          onPick();
        }}
      >
        <span className="truncate" dir="auto">
          {title}
        </span>
        {chat.running && (
          <span
            className="breathe ms-auto size-2 shrink-0 rounded-full bg-accent"
            role="img"
            aria-label="An answer is being written"
            data-testid="chat-running"
          />
        )}
      </a>
      <span
        className={`absolute inset-y-0 end-0 flex items-center rounded-e-lg bg-muted pe-0.5 opacity-0 focus-within:opacity-100 group-hover:opacity-100 ${current ? "pointer-coarse:static pointer-coarse:opacity-100" : "pointer-coarse:hidden"}`}
      >
        <IconButton label={`Rename: ${title}`} data-testid="rename-chat" onClick={() => setMode("renaming")}>
          <Pencil />
        </IconButton>
        <IconButton label={`Delete: ${title}`} data-testid="delete-chat" onClick={() => setMode("deleting")}>
          <Trash2 />
        </IconButton>
      </span>
      {mode === "deleting" && (
        <Confirm
          title="Delete this chat?"
          action="Delete"
          onConfirm={remove}
          onClose={() => setMode("shown")}
        >
          “{title}” and all its messages are removed, on every device.
        </Confirm>
      )}
    </li>
  );
}

export const ChatItem = memo(Item);
