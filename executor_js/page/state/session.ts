/** Who is signed in, as the server says. */

import { create } from "zustand";
import type { Account } from "../../src/index";
import { startExecutor, stopExecutor } from "../executor";
import { ApiError, api, sentence, whenSignedOut } from "../lib/api";

export type Session =
  | { readonly state: "loading" }
  | { readonly state: "in"; readonly account: Account }
  | { readonly state: "out"; readonly error: string | null }
  | { readonly state: "unreachable"; readonly error: string };

export const useSession = create<{ session: Session }>()(() => ({ session: { state: "loading" } }));

export const become = (session: Session): void => useSession.setState({ session });

const RETRY = 3000;

/** The server has said who is signed in, if anybody is. */
export function enter(account: Account | null): void {
  if (account) startExecutor(account.id);
  become(account ? { state: "in", account } : { state: "out", error: null });
}

/** It could not be asked, and is asked again. */
export function unreachable(failure: unknown, again: () => Promise<void>): void {
  become({ state: "unreachable", error: sentence(failure) });
  setTimeout(() => void again(), RETRY);
}

/** Asks the server who is signed in. */
export async function startSession(): Promise<void> {
  try {
    enter(await api.me());
  } catch (failure) {
    if (failure instanceof ApiError && failure.status === 401) enter(null);
    else unreachable(failure, startSession);
  }
}

export function watchSession(): void {
  whenSignedOut(() => {
    if (useSession.getState().session.state === "in") {
      become({ state: "out", error: "You were signed out." });
      void stopExecutor();
    }
  });
}

/** Nothing is shown and nothing runs any more of the account that was signed in. */
export async function stopSession(): Promise<void> {
  become({ state: "loading" });
  await stopExecutor();
}

/** Asks again whether the session still holds, such as after the socket was refused. */
export async function checkSession(): Promise<void> {
  const account = await api.me().catch(() => null);
  const { session } = useSession.getState();
  // Another tab has signed this browser in to another account.
  if (account && session.state === "in" && account.id !== session.account.id) location.reload();
}

export async function signOut(): Promise<void> {
  await stopExecutor();
  await api.logout();
  become({ state: "out", error: null });
}
