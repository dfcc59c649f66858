/** Whether the settings are open, and at which page. */

import { create } from "zustand";

export type SettingsPage = "connections" | "add-connection" | "devices";

export const useSettings = create<{ page: SettingsPage | null }>()(() => ({ page: null }));

export const openSettings = (page: SettingsPage): void => useSettings.setState({ page });

export const closeSettings = (): void => useSettings.setState({ page: null });
