/** The images of a message; one from elsewhere is a link, it is not loaded. */

import type { ReactNode } from "react";
import { ownImage, safeLink, shortUrl } from "../lib/urls";

function Picture({ url }: { url: string }): ReactNode {
  if (ownImage(url)) return <img src={url} alt="" className="max-h-96 max-w-full rounded-xl border" />;
  const link = safeLink(url);
  if (link === null) return null;
  return (
    <a
      href={link}
      target="_blank"
      rel="noopener noreferrer nofollow"
      className="text-accent text-sm underline"
    >
      Image: {shortUrl(link)}
    </a>
  );
}

export function Images({ urls }: { urls: readonly string[] }): ReactNode {
  if (urls.length === 0) return null;
  return (
    <div className="mt-3 flex flex-wrap gap-3">
      {[...new Set(urls)].map((url) => (
        <Picture key={url} url={url} />
      ))}
    </div>
  );
}
