/** Loads the Markdown renderer beside the page; until it is there, the text is shown as it is. */

import { lazy, type ReactNode, Suspense } from "react";

type Renderer = typeof import("./markdown");

const AGAIN_MS = 2000;

/** A network that fails for a moment must not take the page with it. */
const load = (): Promise<Renderer> =>
  import("./markdown").catch(async () => {
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    return load();
  });

const Markdown = lazy(load);

/** Begins to load it before it is needed. */
export const preloadMarkdown = (): void => void load();

export function MarkdownText({ text, writing }: { text: string; writing: boolean }): ReactNode {
  return (
    <Suspense fallback={<div className="markdown whitespace-pre-wrap">{text}</div>}>
      <Markdown text={text} writing={writing} />
    </Suspense>
  );
}
