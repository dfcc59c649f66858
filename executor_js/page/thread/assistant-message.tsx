/** What a model wrote: its thoughts, its text, its tool calls, images and sources, and how it ended. */

import { RefreshCw } from "lucide-react";
import type { ReactNode } from "react";
import type { Message, Run } from "../../src/index";
import { MarkdownText } from "../markdown/lazy";
import { useModels } from "../state/models";
import { IconButton } from "../ui/button";
import { CopyButton } from "../ui/copy-button";
import { Fold } from "../ui/fold";
import { askAgain } from "./actions";
import { Citations } from "./citations";
import { Images } from "./images";
import { Ending, Progress } from "./run-state";
import { ToolCalls } from "./tool-calls";

const ModelName = ({ id }: { id: string | null }): ReactNode =>
  useModels((state) => state.models.find((model) => model.id === id)?.name) ?? id;

interface FooterProps {
  readonly message: Message;
  readonly last: boolean;
  readonly branches: ReactNode;
}

function Footer({ message, last, branches }: FooterProps): ReactNode {
  const quiet = last
    ? ""
    : "opacity-0 transition-opacity focus-within:opacity-100 group-hover/message:opacity-100 pointer-coarse:opacity-100";
  const again =
    last && message.parent_id !== null && (message.status === "sent" || message.status === "aborted");
  return (
    <div className="-ms-1.5 mt-2 flex min-h-7 items-center gap-1 text-muted-foreground">
      {branches}
      <span className={`inline-flex items-center gap-1 ${quiet}`}>
        {message.content !== "" && !message.partial && (
          <CopyButton text={message.content} label="Copy message" />
        )}
        {again && (
          <IconButton
            label="Another answer"
            className="size-7"
            data-testid="regenerate"
            onClick={() => askAgain(message)}
          >
            <RefreshCw />
          </IconButton>
        )}
      </span>
      <span className={`ms-1 truncate text-faint text-xs ${quiet}`}>
        <ModelName id={message.model} />
      </span>
    </div>
  );
}

interface AssistantMessageProps extends FooterProps {
  readonly run: Run | undefined;
}

export function AssistantMessage({ message, run, last, branches }: AssistantMessageProps): ReactNode {
  const writing = message.status === "streaming";
  const thinking = writing && message.content === "";
  return (
    <div dir="auto">
      {message.reasoning !== "" && (
        <Fold title={thinking ? "Thinking…" : "Thoughts"} busy={thinking}>
          <p className="whitespace-pre-wrap leading-relaxed [overflow-wrap:anywhere]" data-testid="reasoning">
            {message.reasoning}
          </p>
        </Fold>
      )}
      <div data-testid="message-text">
        {message.content !== "" && <MarkdownText text={message.content} writing={writing} />}
      </div>
      <ToolCalls calls={message.tool_calls} />
      <Images urls={message.images} />
      <Citations citations={message.citations} />
      {writing ? <Progress message={message} run={run} /> : <Ending message={message} last={last} />}
      {!writing && <Footer message={message} last={last} branches={branches} />}
    </div>
  );
}
