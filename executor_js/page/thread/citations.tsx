/** The sources that an answer names. */

import type { ReactNode } from "react";
import type { Citation } from "../../src/index";
import { safeLink, shortUrl } from "../lib/urls";
import { Fold } from "../ui/fold";

function Source({ citation }: { citation: Citation }): ReactNode {
  const link = safeLink(citation.url);
  const title = citation.title || shortUrl(citation.url);
  if (link === null) return title;
  return (
    <a href={link} target="_blank" rel="noopener noreferrer nofollow" className="text-accent hover:underline">
      {title}
      {citation.title && <span className="ms-2 text-faint">{shortUrl(citation.url)}</span>}
    </a>
  );
}

export const Citations = ({ citations }: { citations: readonly Citation[] }): ReactNode =>
  citations.length > 0 && (
    <div className="mt-3">
      <Fold title={`${citations.length} ${citations.length === 1 ? "source" : "sources"}`}>
        <ol className="list-decimal space-y-1 ps-5">
          {citations.map((citation) => (
            <li key={citation.url}>
              <Source citation={citation} />
            </li>
          ))}
        </ol>
      </Fold>
    </div>
  );
