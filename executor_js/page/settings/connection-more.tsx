/** The fields of a connection that few need, folded away until they are wanted. */

import { ChevronRight } from "lucide-react";
import type { ReactNode } from "react";
import { Field } from "../ui/field";
import type { Fields } from "./connection-fields";

interface MoreFieldsProps {
  readonly fields: Fields;
  readonly set: (change: Partial<Fields>) => void;
}

const WAIT_HELP = "In seconds, from 1 to 86400. Empty: as the server has it.";

export function MoreFields({ fields, set }: MoreFieldsProps): ReactNode {
  return (
    <details className="group/more text-sm">
      <summary className="inline-flex list-none items-center gap-1 text-muted-foreground hover:text-foreground">
        <ChevronRight className="size-4 transition-transform group-open/more:rotate-90" aria-hidden />
        More
      </summary>
      <div className="grid gap-4 pt-3">
        <Field
          label="Models"
          help="Only for a server that cannot list its own: their ids, separated by commas."
          value={fields.models}
          onChange={(event) => set({ models: event.target.value })}
          spellCheck={false}
          data-testid="connection-models"
        />
        <Field
          label="Wait for the first word"
          help={WAIT_HELP}
          value={fields.firstLineTimeout}
          onChange={(event) => set({ firstLineTimeout: event.target.value })}
          inputMode="decimal"
          data-testid="connection-first-line-timeout"
        />
        <Field
          label="Wait in mid-answer"
          help={WAIT_HELP}
          value={fields.idleTimeout}
          onChange={(event) => set({ idleTimeout: event.target.value })}
          inputMode="decimal"
          data-testid="connection-idle-timeout"
        />
      </div>
    </details>
  );
}
