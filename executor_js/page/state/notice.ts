/** One short message to the reader about something that did not work. */

import { create } from "zustand";
import { sentence } from "../lib/api";

export const useNotice = create<{ text: string | null }>()(() => ({ text: null }));

export const dismiss = (): void => useNotice.setState({ text: null });

/** Runs what a button asks for, and says it if it fails. */
export function attempt(work: () => Promise<unknown>): void {
  dismiss();
  work().catch((failure: unknown) => useNotice.setState({ text: sentence(failure) }));
}
