/** A block of code: its language, a copy button, and colours once they are loaded. */

import { memo, type ReactNode, useEffect, useState } from "react";
import { CopyButton } from "../ui/copy-button";
import { grammarOf } from "./grammars";
import type { Highlighter, Lines, Token } from "./highlighter";

/** Loads the grammar of a language; null until it is there, or where there is none. */
function useHighlighter(language: string): Highlighter | null {
  const [highlighter, setHighlighter] = useState<Highlighter | null>(null);
  const grammar = grammarOf(language);
  useEffect(() => {
    setHighlighter(null);
    if (grammar === null) return;
    let wanted = true;
    import("./highlighter")
      .then((module) => module.Highlighter.load(grammar))
      .then((loaded) => wanted && setHighlighter(loaded))
      // Without colours, then: the chunk could not be loaded.
      .catch(() => {});
    return () => {
      wanted = false;
    };
  }, [grammar]);
  return highlighter;
}

const Piece = ({ token }: { token: Token }): ReactNode => (
  <span style={{ color: token.color, fontStyle: token.italic ? "italic" : undefined }}>{token.text}</span>
);

const Line = memo(({ tokens }: { tokens: readonly Token[] }) => (
  <span>
    {tokens.map((token, index) => (
      // biome-ignore lint/suspicious/noArrayIndexKey: a line's pieces have no other name
      <Piece key={index} token={token} />
    ))}
    {"\n"}
  </span>
));

const Coloured = ({ lines }: { lines: Lines }): ReactNode =>
  // biome-ignore lint/suspicious/noArrayIndexKey: a line is its number
  lines.map((tokens, index) => <Line key={index} tokens={tokens} />);

export function CodeBlock({ code, language }: { code: string; language: string }): ReactNode {
  const highlighter = useHighlighter(language);
  const text = code.replace(/\n+$/, "");
  return (
    <figure className="group/code my-4 overflow-hidden rounded-xl border bg-panel" dir="ltr">
      <figcaption className="flex h-9 items-center justify-between border-b ps-4 pe-1.5 text-faint text-xs">
        <span className="font-mono">{language || "text"}</span>
        <CopyButton text={text} label="Copy code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls sideways, also by keyboard */}
      <pre tabIndex={0} className="overflow-x-auto px-4 py-3 font-mono text-[0.8125rem] leading-relaxed">
        <code>{highlighter ? <Coloured lines={highlighter.highlight(text)} /> : text}</code>
      </pre>
    </figure>
  );
}
