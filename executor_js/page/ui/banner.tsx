/** A line of text that needs to be seen: a note, a warning or an error. */

import { CircleAlert, Info, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";

const KINDS = {
  note: { icon: Info, tone: "text-muted-foreground" },
  warning: { icon: TriangleAlert, tone: "text-warning" },
  error: { icon: CircleAlert, tone: "text-danger" },
} as const;

interface BannerProps {
  readonly kind: keyof typeof KINDS;
  readonly children: ReactNode;
  /** Buttons, at the end of the line. */
  readonly actions?: ReactNode;
}

export function Banner({ kind, children, actions }: BannerProps): ReactNode {
  const { icon: Icon, tone } = KINDS[kind];
  return (
    <div
      role={kind === "error" ? "alert" : "status"}
      className="flex flex-wrap items-start gap-x-3 gap-y-2 rounded-xl border bg-panel px-3.5 py-2.5 text-sm"
    >
      <Icon className={`mt-0.5 size-4 shrink-0 ${tone}`} aria-hidden />
      <div className="min-w-40 flex-1">{children}</div>
      {actions && <div className="flex flex-wrap gap-2">{actions}</div>}
    </div>
  );
}
