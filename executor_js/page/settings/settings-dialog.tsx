/** The settings: connections of this browser, and the devices of the account. */

import type { ReactNode } from "react";
import type { Account } from "../../src/index";
import { closeSettings, openSettings, type SettingsPage } from "../state/settings";
import { Dialog } from "../ui/dialog";
import { Connections } from "./connections";
import { Devices } from "./devices";

const TABS = [
  { page: "connections", label: "Connections" },
  { page: "devices", label: "Devices" },
] as const;

export function SettingsDialog({ page, account }: { page: SettingsPage; account: Account }): ReactNode {
  const shown = page === "devices" ? "devices" : "connections";
  return (
    <Dialog title="Settings" onClose={closeSettings} wide>
      <nav aria-label="Settings" className="mb-5 flex gap-1 border-b">
        {TABS.map((tab) => (
          <button
            key={tab.page}
            type="button"
            aria-current={tab.page === shown ? "page" : undefined}
            data-testid={`settings-${tab.page}`}
            onClick={() => openSettings(tab.page)}
            className={`-mb-px min-h-10 border-b-2 px-3 text-sm ${tab.page === shown ? "border-accent font-medium" : "border-transparent text-muted-foreground hover:text-foreground"}`}
          >
            {tab.label}
          </button>
        ))}
      </nav>
      {shown === "connections" ? (
        <Connections adding={page === "add-connection"} />
      ) : (
        <Devices account={account} />
      )}
    </Dialog>
  );
}
