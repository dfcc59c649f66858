/** What a test of a connection found: its models, or what is wrong in plain words. */

import { CircleCheck } from "lucide-react";
import { type ReactNode, useEffect, useRef } from "react";
import type { TestResult } from "../../src/index";
import { Banner } from "../ui/banner";

const SHOWN = 8;

export function ConnectionResult({ result }: { result: TestResult }): ReactNode {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    ref.current?.scrollIntoView({ block: "nearest" });
  }, []);
  if (!result.ok) {
    return (
      <div ref={ref} data-testid="connection-result" data-ok="false">
        <Banner kind="error">{result.error.message}</Banner>
      </div>
    );
  }
  const { models } = result;
  const more = models.length - SHOWN;
  return (
    <div
      ref={ref}
      role="status"
      data-testid="connection-result"
      data-ok="true"
      className="rounded-xl border bg-panel px-3.5 py-2.5 text-sm"
    >
      <p className="flex items-center gap-2 font-medium">
        <CircleCheck className="size-4 text-good" aria-hidden />
        {models.length === 1 ? "It works: 1 model." : `It works: ${models.length} models.`}
      </p>
      <ul className="mt-2 flex flex-wrap gap-1.5">
        {models.slice(0, SHOWN).map((model) => (
          <li
            key={model.id}
            className="max-w-full truncate rounded-md bg-muted px-2 py-0.5 font-mono text-xs"
          >
            {model.id}
          </li>
        ))}
        {more > 0 && <li className="px-1 py-0.5 text-muted-foreground text-xs">and {more} more</li>}
      </ul>
    </div>
  );
}
