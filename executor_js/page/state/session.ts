/** Who is signed in: redeems a link from the address bar, and asks the server. */

import { create } from "zustand";
import type { Account } from "../../src/index";
import { startExecutor, stopExecutor } from "../executor";
import { ApiError, api, sentence, whenSignedOut } from "../lib/api";

type Session =
  | { readonly state: "loading" }
  | { readonly state: "in"; readonly account: Account }
  | { readonly state: "out"; readonly error: string | null }
  | { readonly state: "unreachable"; readonly error: string };

export const useSession = create<{ session: Session }>()(() => ({ session: { state: "loading" } }));

const become = (session: Session): void => useSession.setState({ session });

const RETRY = 3000;

async function ask(error: string | null): Promise<void> {
  try {
    const account = await api.me();
    startExecutor(account.id);
    become({ state: "in", account });
  } catch (failure) {
    if (failure instanceof ApiError && failure.status === 401) return become({ state: "out", error });
    become({ state: "unreachable", error: sentence(failure) });
    setTimeout(() => void ask(error), RETRY);
  }
}

/** Trades a one-time code for the session cookie. */
export async function redeem(code: string): Promise<void> {
  let error: string | null = null;
  try {
    await api.redeem(code);
  } catch (failure) {
    error = sentence(failure);
    if (failure instanceof ApiError && failure.code === "offline") {
      become({ state: "unreachable", error });
      setTimeout(() => void redeem(code), RETRY);
      return;
    }
  }
  await ask(error);
}

/** On load: a code in the hash is spent and taken out of the address bar and the history. */
export async function startSession(): Promise<void> {
  whenSignedOut(() => {
    if (useSession.getState().session.state === "in") {
      become({ state: "out", error: "You were signed out." });
      void stopExecutor();
    }
  });
  const code = location.hash.slice(1);
  if (!code) return ask(null);
  history.replaceState(null, "", location.pathname + location.search);
  await redeem(code);
}

/** Asks again whether the session still holds, such as after the socket was refused. */
export const checkSession = (): void => void api.me().catch(() => {});

export async function signOut(): Promise<void> {
  await stopExecutor();
  await api.logout();
  become({ state: "out", error: null });
}
