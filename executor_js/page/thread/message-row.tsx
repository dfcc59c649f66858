/** One message of the thread, drawn again only when it changed. */

import { memo, type ReactNode } from "react";
import type { Message, Run } from "../../src/index";
import { useLive } from "../state/live";
import { AssistantMessage } from "./assistant-message";
import { BranchSwitcher } from "./branch-switcher";
import { UserMessage } from "./user-message";

export interface MessageProps {
  readonly message: Message;
  /** The ids that share its parent, itself included. */
  readonly siblings: readonly string[] | undefined;
  /** The run that is writing it. */
  readonly run: Run | undefined;
  /** Whether it is the end of the branch. */
  readonly last: boolean;
}

const SystemMessage = ({ message }: { message: Message }): ReactNode => (
  <p className="whitespace-pre-wrap text-center text-faint text-sm" dir="auto">
    {message.content}
  </p>
);

function body({ message, siblings, run, last }: MessageProps): ReactNode {
  const branches = <BranchSwitcher id={message.id} siblings={siblings} />;
  switch (message.role) {
    case "user":
      return <UserMessage message={message} branches={branches} />;
    case "assistant":
      return <AssistantMessage message={message} run={run} last={last} branches={branches} />;
    case "system":
      return <SystemMessage message={message} />;
  }
}

/** Over a message of which only the end is here yet. */
function Missing(): ReactNode {
  const error = useLive((state) => state.missing);
  return (
    <p role="status" className="late mb-2 text-faint text-sm" data-testid="partial">
      {error === null
        ? "This message is long. Its beginning is being loaded…"
        : `The beginning of this message could not be loaded. ${error} It is tried again.`}
    </p>
  );
}

function Row(props: MessageProps): ReactNode {
  const { message } = props;
  return (
    <article
      aria-label={message.role === "user" ? "You" : "Answer"}
      aria-busy={message.status === "streaming"}
      data-testid="message"
      data-role={message.role}
      data-status={message.status}
      data-message-id={message.id}
      className="group/message"
    >
      {message.partial && <Missing />}
      {body(props)}
    </article>
  );
}

export const MessageRow = memo(Row);
