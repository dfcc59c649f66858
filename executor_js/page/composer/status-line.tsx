/** One line below the composer: which device answers, and whether it and the server are there. */

import { type ReactNode, useMemo } from "react";
import type { Run } from "../../src/index";
import { useHost } from "../executor";
import { useLive } from "../state/live";
import { devicesOf, useModels } from "../state/models";
import { describe, type Status } from "../state/status";

const DOTS: Record<Status["tone"], string> = {
  good: "bg-good",
  busy: "bg-accent breathe",
  waiting: "bg-warning",
  bad: "bg-danger",
};

interface StatusLineProps {
  readonly model: string | null;
  readonly run: Run | undefined;
  /** Whether a message is to be sent as soon as that is possible. */
  readonly wanted: boolean;
}

export function StatusLine({ model, run, wanted }: StatusLineProps): ReactNode {
  const host = useHost();
  const line = useLive((state) => state.line);
  const storeOk = useLive((state) => state.storeOk);
  const models = useModels();
  const { tone, text } = useMemo(() => {
    const choice = models.models.find((one) => one.id === (run?.model ?? model));
    const devices = devicesOf(models, choice);
    return describe({ line, storeOk, host, loaded: models.loaded, model, choice, devices, run, wanted });
  }, [host, line, storeOk, models, model, run, wanted]);
  return (
    <p
      role="status"
      data-testid="status-line"
      data-tone={tone}
      className="flex min-h-7 items-center justify-center gap-2 px-3 pt-1 text-center text-faint text-xs"
    >
      <span className={`size-1.5 shrink-0 rounded-full ${DOTS[tone]}`} aria-hidden />
      <span className="line-clamp-2">{text}</span>
    </p>
  );
}
