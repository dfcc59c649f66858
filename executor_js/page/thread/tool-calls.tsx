/** The tools that a model asked for, with what it gave them. */

import type { ReactNode } from "react";
import type { ToolCall } from "../../src/index";
import { Fold } from "../ui/fold";

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    // Still being written, or not JSON: as it is.
    return json;
  }
}

export const ToolCalls = ({ calls }: { calls: readonly ToolCall[] }): ReactNode =>
  calls.length > 0 && (
    <div className="mt-3">
      {calls.map((call) => (
        <Fold
          key={call.index}
          title={
            <>
              Tool: <span className="font-mono">{call.name || "…"}</span>
            </>
          }
        >
          <pre className="overflow-x-auto font-mono text-xs leading-relaxed" dir="ltr">
            {pretty(call.arguments)}
          </pre>
        </Fold>
      ))}
    </div>
  );
