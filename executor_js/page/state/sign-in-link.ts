/** A sign-in link that was opened: whose it is, and what the reader makes of it. Only a click spends it. */

import { create } from "zustand";
import type { LinkOwner } from "../../src/index";
import { ApiError, api, sentence } from "../lib/api";
import { linkCode } from "../lib/urls";
import { enter, startSession, stopSession, unreachable, useSession } from "./session";

export interface Offer {
  readonly code: string;
  /** Null until the server has said it. */
  readonly owner: LinkOwner | null;
  readonly error: string | null;
}

export const useOffer = create<{ offer: Offer | null }>()(() => ({ offer: null }));

/** Asks the reader about a code: the link stays good until `accept`. */
export function offer(code: string): void {
  useOffer.setState({ offer: { code, owner: null, error: null } });
  void look(code);
}

export const dismissOffer = (): void => useOffer.setState({ offer: null });

async function look(code: string): Promise<void> {
  try {
    const owner = await api.linkOwner(code);
    become(code, { owner });
    if (!isKnown()) enter(owner.signed_in);
  } catch (failure) {
    become(code, { error: sentence(failure) });
    if (isKnown()) return;
    if (failure instanceof ApiError && failure.code === "offline") unreachable(failure, () => look(code));
    else await startSession();
  }
}

function become(code: string, news: Partial<Offer>): void {
  const { offer } = useOffer.getState();
  // Another link may have been opened since.
  if (offer?.code === code) useOffer.setState({ offer: { ...offer, error: null, ...news } });
}

/** Whether the server has said who is signed in. */
function isKnown(): boolean {
  const { state } = useSession.getState().session;
  return state === "in" || state === "out";
}

/** Signs this browser in with the link. Whoever was signed in before is so no longer. */
export async function accept(offer: Offer): Promise<void> {
  const { session } = useSession.getState();
  const leaves = session.state === "in" && session.account.id !== offer.owner?.id;
  // Ahead of the new cookie: an executor never runs the calls of another account with its own keys.
  if (leaves) await stopSession();
  try {
    await api.redeem(offer.code);
  } catch (failure) {
    const again = failure instanceof ApiError && failure.retryable;
    become(offer.code, { owner: again ? offer.owner : null, error: sentence(failure) });
    return startSession();
  }
  if (leaves) {
    // All that the page knows is of the other account.
    location.replace("/");
    return;
  }
  dismissOffer();
  await startSession();
}

/** Takes a link out of the address bar and of the history at once, and asks about it. */
function takeLink(): boolean {
  const code = linkCode(location.hash);
  if (code === null) return false;
  history.replaceState(history.state, "", location.pathname + location.search);
  offer(code);
  return true;
}

/** Begins with a link, or without one. A link may be pasted into the address bar of the open page, too. */
export function start(): void {
  addEventListener("hashchange", takeLink);
  if (!takeLink()) void startSession();
}
