/** Steps between the versions of a message: ‹ 1/2 ›. */

import { ChevronLeft, ChevronRight } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "../ui/button";
import { switchTo } from "./actions";

interface BranchSwitcherProps {
  readonly id: string;
  readonly siblings: readonly string[] | undefined;
}

export function BranchSwitcher({ id, siblings }: BranchSwitcherProps): ReactNode {
  if (!siblings || siblings.length < 2) return null;
  const at = siblings.indexOf(id);
  const [before, after] = [siblings[at - 1], siblings[at + 1]];
  return (
    <span
      className="inline-flex items-center text-muted-foreground text-xs tabular-nums"
      data-testid="branches"
    >
      <IconButton
        label="Earlier version"
        className="size-7"
        disabled={before === undefined}
        onClick={() => before !== undefined && switchTo(before)}
      >
        <ChevronLeft />
      </IconButton>
      {at + 1}/{siblings.length}
      <IconButton
        label="Later version"
        className="size-7"
        disabled={after === undefined}
        onClick={() => after !== undefined && switchTo(after)}
      >
        <ChevronRight />
      </IconButton>
    </span>
  );
}
