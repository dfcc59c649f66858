/** Something that is folded away until it is wanted: thoughts, tool calls, sources. */

import { ChevronRight } from "lucide-react";
import type { ReactNode } from "react";

interface FoldProps {
  readonly title: ReactNode;
  readonly busy?: boolean;
  readonly children: ReactNode;
}

export function Fold({ title, busy = false, children }: FoldProps): ReactNode {
  return (
    <details className="group/fold mb-3">
      <summary className="inline-flex list-none items-center gap-1.5 rounded-lg py-1 text-muted-foreground text-sm hover:text-foreground">
        <ChevronRight className="size-4 transition-transform group-open/fold:rotate-90" aria-hidden />
        <span className={busy ? "breathe" : ""}>{title}</span>
      </summary>
      <div className="mt-1 ms-2 border-s-2 ps-4 text-muted-foreground text-sm">{children}</div>
    </details>
  );
}
