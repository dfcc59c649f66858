/** What the reader wrote, as it was typed. */

import type { ReactNode } from "react";
import type { Message } from "../../src/index";
import { CopyButton } from "../ui/copy-button";
import { Images } from "./images";

export const UserBubble = ({ text }: { text: string }): ReactNode => (
  <div className="flex justify-end">
    <div
      dir="auto"
      data-testid="message-text"
      className="max-w-[85%] whitespace-pre-wrap rounded-2xl rounded-ee-md bg-muted px-4 py-2.5 leading-relaxed [overflow-wrap:anywhere]"
    >
      {text}
    </div>
  </div>
);

interface UserMessageProps {
  readonly message: Message;
  readonly branches: ReactNode;
}

export const UserMessage = ({ message, branches }: UserMessageProps): ReactNode => (
  <>
    <UserBubble text={message.content} />
    <Images urls={message.images} />
    <div className="mt-1 -mb-4 flex min-h-7 items-center justify-end gap-1 text-muted-foreground">
      {branches}
      <span className="opacity-0 transition-opacity focus-within:opacity-100 group-hover/message:opacity-100 pointer-coarse:opacity-100">
        {!message.partial && <CopyButton text={message.content} label="Copy message" />}
      </span>
    </div>
  </>
);
