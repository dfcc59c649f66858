/** How links, images, tables and code of a model's Markdown are shown. */

import { type ComponentProps, isValidElement, type MouseEvent, type ReactNode } from "react";
import type { Components, ExtraProps } from "streamdown";
import { ownImage, safeLink, shortUrl } from "../lib/urls";
import { CodeBlock } from "./code-block";

type Props<Tag extends "a" | "img" | "table" | "code" | "p" | "li" | "ul" | "ol"> = ComponentProps<Tag> &
  ExtraProps;

/** Goes to a footnote and back inside the message: the address stays, and other messages have the same ids. */
function jump(event: MouseEvent<HTMLAnchorElement>): void {
  event.preventDefault();
  const { hash } = event.currentTarget;
  const message = event.currentTarget.closest(".markdown");
  const targets = [...(message?.querySelectorAll("[id]") ?? [])];
  targets.find(({ id }) => `#${encodeURI(id)}` === hash)?.scrollIntoView({ block: "nearest" });
}

function Link({ href, children }: Props<"a">): ReactNode {
  const target = safeLink(href);
  if (target === null) return <span>{children}</span>;
  if (target.startsWith("#"))
    return (
      <a href={target} onClick={jump}>
        {children}
      </a>
    );
  return (
    <a href={target} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

/** An image from elsewhere is a link: loading it would tell its server what is read here. */
function Image({ src, alt }: Props<"img">): ReactNode {
  const url = typeof src === "string" ? src : "";
  if (ownImage(url))
    return <img src={url} alt={alt ?? ""} className="max-w-full rounded-lg" loading="lazy" />;
  return <Link href={url}>{`Image: ${alt || shortUrl(url)}`}</Link>;
}

const Table = ({ children }: Props<"table">): ReactNode => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls sideways, also by keyboard
  <div className="overflow-x-auto" tabIndex={0}>
    <table>{children}</table>
  </div>
);

function text(children: ReactNode): string {
  if (typeof children === "string") return children;
  if (Array.isArray(children)) return children.map(text).join("");
  return isValidElement<{ children?: ReactNode }>(children) ? text(children.props.children) : "";
}

const Code = ({ className, children }: Props<"code">): ReactNode => (
  <CodeBlock code={text(children)} language={/language-(\S+)/.exec(className ?? "")?.[1] ?? ""} />
);

const InlineCode = ({ children }: Props<"code">): ReactNode => (
  <code dir="ltr" className="rounded-md bg-muted px-1.5 py-0.5 font-mono text-[0.875em]">
    {children}
  </code>
);

/** Streamdown's own elements bring looks that are not ours: these are plain, and the style sheet does the rest. */
export const elements: Components = {
  a: Link,
  img: Image,
  table: Table,
  thead: "thead",
  tbody: "tbody",
  tr: "tr",
  th: "th",
  td: "td",
  code: Code,
  inlineCode: InlineCode,
  h1: "h1",
  h2: "h2",
  h3: "h3",
  h4: "h4",
  h5: "h5",
  h6: "h6",
  blockquote: "blockquote",
  hr: "hr",
  ul: "ul",
  ol: "ol",
  li: "li",
  strong: "strong",
};
