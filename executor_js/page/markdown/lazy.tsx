/** Loads the Markdown renderer beside the page; until it is there, the text is shown as it is. */

import { lazy, type ReactNode, Suspense } from "react";

const load = () => import("./markdown");
const Markdown = lazy(load);

/** Begins to load it before it is needed. */
export const preloadMarkdown = (): void => void load().catch(() => {});

export function MarkdownText({ text, writing }: { text: string; writing: boolean }): ReactNode {
  return (
    <Suspense fallback={<div className="markdown whitespace-pre-wrap">{text}</div>}>
      <Markdown text={text} writing={writing} />
    </Suspense>
  );
}
