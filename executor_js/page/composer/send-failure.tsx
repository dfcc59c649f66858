/** Says why a message could not be sent; the text is in the composer again. */

import type { ReactNode } from "react";
import { dismissFailure, useOutbox } from "../state/send";
import { openSettings } from "../state/settings";
import { Banner } from "../ui/banner";
import { Button } from "../ui/button";

interface SendFailureProps {
  readonly chatKey: string;
  readonly onRetry: () => void;
}

export function SendFailure({ chatKey, onRetry }: SendFailureProps): ReactNode {
  const pending = useOutbox((state) => state[chatKey] ?? null);
  if (pending?.state !== "failed") return null;
  return (
    <div className="pb-2" data-testid="send-error">
      <Banner
        kind="error"
        actions={
          <>
            {pending.code === "model_not_found" && (
              <Button onClick={() => openSettings("connections")}>Connections</Button>
            )}
            <Button onClick={onRetry} data-testid="retry">
              Try again
            </Button>
            <Button look="quiet" onClick={() => dismissFailure(chatKey)}>
              Dismiss
            </Button>
          </>
        }
      >
        Your message was not sent. {pending.error}
      </Banner>
    </div>
  );
}
