/** Makes a one-time link that signs in another browser, phone or computer. */

import { MonitorSmartphone } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { Link } from "../../src/index";
import { api } from "../lib/api";
import { attempt } from "../state/notice";
import { Button } from "../ui/button";
import { CopyButton } from "../ui/copy-button";

export function DeviceLink(): ReactNode {
  const [link, setLink] = useState<Link | null>(null);
  const make = (): void => attempt(async () => setLink(await api.newLink()));
  return (
    <section>
      <h3 className="font-medium text-sm">Another device</h3>
      <p className="mt-1 text-muted-foreground text-sm">
        Open the link there. Your chats are on every device; the keys stay where you typed them.
      </p>
      {link && (
        <div className="mt-3 rounded-xl border bg-panel p-3">
          <div className="flex items-center gap-2">
            <input
              readOnly
              aria-label="Sign-in link"
              value={link.url}
              onFocus={(event) => event.target.select()}
              data-testid="device-link"
              className="min-w-0 flex-1 bg-transparent font-mono text-xs"
            />
            <CopyButton text={link.url} label="Copy the link" />
          </div>
          <p className="mt-1.5 text-muted-foreground text-xs">It works once, and for 10 minutes.</p>
        </div>
      )}
      <Button className="mt-3" onClick={make} data-testid="add-device">
        <MonitorSmartphone className="size-4" aria-hidden />
        {link ? "Make another link" : "Add a device"}
      </Button>
    </section>
  );
}
