/** Light, dark, or what the system says; CSS does the rest through `color-scheme`. */

import { create } from "zustand";
import { local } from "./storage";

export type Theme = "system" | "light" | "dark";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };

function apply(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function stored(): Theme {
  const value = local.get("theme");
  return value === "light" || value === "dark" ? value : "system";
}

export const useTheme = create<{ theme: Theme; next: () => void }>()((set, get) => ({
  theme: stored(),
  next: () => {
    const theme = NEXT[get().theme];
    local.set("theme", theme === "system" ? null : theme);
    apply(theme);
    set({ theme });
  },
}));

/** Before the first paint, so that nothing flashes. */
export function startTheme(): void {
  apply(stored());
}
