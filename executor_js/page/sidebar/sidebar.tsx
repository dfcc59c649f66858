/** The list of chats, a button for a new one, the theme and the settings; on a phone, a drawer. */

import { Monitor, Moon, Settings, SquarePen, Sun, X } from "lucide-react";
import { type ReactNode, useEffect } from "react";
import { type Theme, useTheme } from "../lib/theme";
import { go } from "../state/route";
import { openSettings } from "../state/settings";
import { IconButton } from "../ui/button";
import { Wordmark } from "../ui/wordmark";
import { ChatList } from "./chat-list";

const THEMES: Record<Theme, { label: string; icon: ReactNode }> = {
  system: { label: "Theme: as the system", icon: <Monitor /> },
  light: { label: "Theme: light", icon: <Sun /> },
  dark: { label: "Theme: dark", icon: <Moon /> },
};

function ThemeButton(): ReactNode {
  const { theme, next } = useTheme();
  return (
    <IconButton label={THEMES[theme].label} onClick={next} data-testid="theme">
      {THEMES[theme].icon}
    </IconButton>
  );
}

interface SidebarProps {
  /** On a narrow screen: whether the drawer is out. */
  readonly open: boolean;
  readonly onClose: () => void;
}

export function Sidebar({ open, onClose }: SidebarProps): ReactNode {
  useEffect(() => {
    if (!open) return;
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape") onClose();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [open, onClose]);
  const newChat = (): void => {
    go(null);
    onClose();
  };
  const settings = (): void => {
    openSettings("connections");
    onClose();
  };
  return (
    <>
      {open && (
        <div className="fixed inset-0 z-30 bg-black/40 md:hidden" onClick={onClose} aria-hidden="true" />
      )}
      <aside
        aria-label="Chats"
        className={`fixed inset-y-0 start-0 z-40 flex w-[17.5rem] flex-col border-e bg-sidebar transition-transform md:static md:visible md:translate-x-0 ${open ? "" : "invisible -translate-x-full"}`}
      >
        <div className="flex h-14 items-center justify-between ps-4 pe-2">
          <Wordmark small />
          <IconButton label="Close the list" className="md:hidden" onClick={onClose}>
            <X />
          </IconButton>
        </div>
        <div className="px-3 pb-2">
          <button
            type="button"
            onClick={newChat}
            data-testid="new-chat"
            className="flex min-h-10 w-full items-center gap-2.5 rounded-lg border bg-raised px-3 text-sm transition-colors hover:bg-muted"
          >
            <SquarePen className="size-4 text-accent" aria-hidden />
            New chat
          </button>
        </div>
        <ChatList onPick={onClose} />
        <div className="flex items-center justify-between border-t px-3 py-2">
          <button
            type="button"
            onClick={settings}
            data-testid="settings"
            className="flex min-h-9 flex-1 items-center gap-2.5 rounded-lg px-2.5 text-muted-foreground text-sm transition-colors hover:bg-muted hover:text-foreground"
          >
            <Settings className="size-4" aria-hidden />
            Settings
          </button>
          <ThemeButton />
        </div>
      </aside>
    </>
  );
}
