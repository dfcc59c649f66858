/** Says what an answer is waiting for while it is written, and how it ended if not in the usual way. */

import type { ReactNode } from "react";
import type { Message, Run } from "../../src/index";
import { useModels } from "../state/models";
import { Banner } from "../ui/banner";
import { Button } from "../ui/button";
import { askAgain, stopOne, writeOn } from "./actions";

const Dots = (): ReactNode => (
  <span role="status" aria-label="Waiting for the first word" className="inline-flex gap-1.5 py-2">
    {["", "[animation-delay:0.2s]", "[animation-delay:0.4s]"].map((delay) => (
      <span key={delay} className={`breathe size-2 rounded-full bg-accent ${delay}`} />
    ))}
  </span>
);

/** Comes into sight after a moment: most runs wait for less than that. */
const Late = ({ children }: { children: ReactNode }): ReactNode => (
  <div className="late mt-3">{children}</div>
);

function Waiting({ run }: { run: Run }): ReactNode {
  const name = useModels((state) => state.models.find((model) => model.id === run.model)?.name);
  return (
    <Late>
      <Banner
        kind="note"
        actions={
          <Button onClick={() => stopOne(run.id)} data-testid="cancel">
            Cancel
          </Button>
        }
      >
        <span data-testid="waiting">Waiting for a device that has {name ?? run.model}.</span>
      </Banner>
    </Late>
  );
}

/** Below an answer that is being written. */
export function Progress({ message, run }: { message: Message; run: Run | undefined }): ReactNode {
  const device = run?.executor?.name ?? "the device";
  if (run?.state === "queued") return <Waiting run={run} />;
  if (run?.state === "suspended") {
    return (
      <Late>
        <Banner
          kind="warning"
          actions={
            <Button onClick={() => stopOne(run.id)} data-testid="stop-waiting">
              Stop
            </Button>
          }
        >
          <span data-testid="suspended">Waiting for {device} to come back. Then the answer goes on.</span>
        </Banner>
      </Late>
    );
  }
  return message.content === "" ? <Dots /> : null;
}

const Again = ({ message, label }: { message: Message; label: string }): ReactNode => (
  <Button onClick={() => askAgain(message)} data-testid="regenerate">
    {label}
  </Button>
);

/** Below an answer that has ended. */
export function Ending({ message, last }: { message: Message; last: boolean }): ReactNode {
  switch (message.status) {
    case "aborted":
      return (
        <p className="mt-2 text-faint text-sm" data-testid="stopped">
          Stopped
        </p>
      );
    case "interrupted":
      return (
        <div className="mt-3">
          <Banner
            kind="warning"
            actions={
              last && (
                <>
                  <Button look="strong" onClick={() => writeOn(message)} data-testid="continue">
                    Continue
                  </Button>
                  <Again message={message} label="Regenerate" />
                </>
              )
            }
          >
            The device that was writing this went away.
          </Banner>
        </div>
      );
    case "error":
      return (
        <div className="mt-3" data-testid="message-error">
          <Banner kind="error" actions={last && <Again message={message} label="Try again" />}>
            {message.error?.message ?? "Something went wrong."}
          </Banner>
        </div>
      );
    default:
      return null;
  }
}
