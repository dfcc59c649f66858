/** Renders a model's Markdown while it is being written: no HTML of its own, nothing loaded from elsewhere. */

import { memo, type ReactNode } from "react";
import { defaultRehypePlugins, defaultRemarkPlugins, Streamdown } from "streamdown";
import { elements } from "./elements";
import { htmlAsText } from "./html-as-text";

const remark = [...Object.values(defaultRemarkPlugins), htmlAsText];
/** Without `raw`, which would make elements of the model's HTML. */
const rehype = [defaultRehypePlugins.sanitize, defaultRehypePlugins.harden].filter(
  (plugin) => plugin !== undefined,
);
const noModal = { enabled: false };

function Markdown({ text, writing }: { text: string; writing: boolean }): ReactNode {
  return (
    <Streamdown
      className={writing ? "markdown writing" : "markdown"}
      mode="streaming"
      parseIncompleteMarkdown={writing}
      isAnimating={writing}
      components={elements}
      controls={false}
      linkSafety={noModal}
      remarkPlugins={remark}
      rehypePlugins={rehype}
    >
      {text}
    </Streamdown>
  );
}

export default memo(Markdown);
