/** The devices that are away, and a button that makes the server forget each of them. */

import { type ReactNode, useState } from "react";
import { api } from "../lib/api";
import { ago } from "../lib/time";
import { type Device, refreshModels, useModels } from "../state/models";
import { attempt } from "../state/notice";
import { Button } from "../ui/button";
import { Confirm } from "../ui/confirm";

function Row({ device }: { device: Device }): ReactNode {
  const [asking, setAsking] = useState(false);
  const forget = (): void =>
    attempt(async () => {
      await api.forget(device.id);
      await refreshModels();
    });
  return (
    <li className="flex items-center gap-3 py-2.5" data-testid="away-device">
      <div className="min-w-0 flex-1">
        <p className="truncate text-sm">{device.name}</p>
        <p className="text-muted-foreground text-xs">{ago(device.last_active_at, Date.now())}</p>
      </div>
      <Button onClick={() => setAsking(true)} aria-label={`Forget ${device.name}`}>
        Forget
      </Button>
      {asking && (
        <Confirm
          title={`Forget ${device.name}?`}
          action="Forget"
          onConfirm={forget}
          onClose={() => setAsking(false)}
        >
          Its models are not offered any more, and what waits for it alone fails. If it connects again, it is
          back.
        </Confirm>
      )}
    </li>
  );
}

export function KnownDevices(): ReactNode {
  const executors = useModels((state) => state.executors);
  const away = executors.filter((device) => !device.online);
  if (away.length === 0) return null;
  return (
    <section>
      <h3 className="font-medium text-sm">Away</h3>
      <ul className="mt-2 divide-y border-y">
        {away.map((device) => (
          <Row key={device.id} device={device} />
        ))}
      </ul>
    </section>
  );
}
