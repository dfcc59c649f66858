/** An empty chat: how to begin, before the first connection and after it. */

import type { ReactNode } from "react";
import { useHost } from "../executor";
import { useModels } from "../state/models";
import { openSettings, useSettings } from "../state/settings";
import { Button } from "../ui/button";

function FirstRun(): ReactNode {
  const covered = useSettings((state) => state.page !== null);
  return (
    <>
      <h2 className="text-balance font-semibold text-2xl">Your keys stay here. Your chats go everywhere.</h2>
      <p className="max-w-lg text-pretty text-muted-foreground leading-relaxed">
        Keyside lets this browser call the models with your own keys, which never reach the server. The
        answers are kept and shown live on every device that you sign in.
      </p>
      <Button
        look="strong"
        className="mt-2 px-5 py-2.5"
        onClick={() => openSettings("add-connection")}
        data-testid={covered ? undefined : "add-connection"}
      >
        Add a connection
      </Button>
    </>
  );
}

export function Welcome(): ReactNode {
  const host = useHost();
  const { models, loaded } = useModels();
  const none = loaded && models.length === 0 && (host === null || host.connections.length === 0);
  return (
    <div className="grid min-h-0 flex-1 content-center justify-items-center gap-4 overflow-y-auto p-6 text-center">
      {none ? (
        <FirstRun />
      ) : (
        <h2 className="font-semibold text-2xl">{loaded ? "What is on your mind?" : ""}</h2>
      )}
    </div>
  );
}
