/** Asks whether a sign-in link that was opened shall be used, and says what that changes. */

import { type ReactNode, useState } from "react";
import type { Account, LinkOwner } from "../src/index";
import { accept, dismissOffer, type Offer } from "./state/sign-in-link";
import { Banner } from "./ui/banner";
import { Button } from "./ui/button";
import { Wordmark } from "./ui/wordmark";

interface Question {
  readonly title: string;
  readonly text: ReactNode;
  readonly accept: string;
  readonly decline: string;
}

function question(owner: LinkOwner, account: Account | null): Question {
  const name = <strong className="font-medium text-foreground">{owner.name}</strong>;
  if (account === null)
    return {
      title: `Sign in as ${owner.name} on this device?`,
      text: (
        <>
          The chats of {name} are shown in this browser, and the keys that you enter here answer them. Go on
          if you made the link yourself, or got it from whoever runs this server.
        </>
      ),
      accept: `Sign in as ${owner.name}`,
      decline: "Not now",
    };
  if (account.id === owner.id)
    return {
      title: "You are signed in already",
      text: (
        <>
          This browser is signed in as {name}, and the link is for the same account. It was not used: you can
          still open it on another device.
        </>
      ),
      accept: "Use it here anyway",
      decline: "Back to the chats",
    };
  return {
    title: `Switch to ${owner.name}?`,
    text: (
      <>
        You are signed in as <strong className="font-medium text-foreground">{account.name}</strong>. With
        this link you would be {name} in this browser: you would see other chats, and keys that you enter then
        would answer whatever {name} asks. The keys that you entered so far stay with {account.name}.
      </>
    ),
    accept: `Switch to ${owner.name}`,
    decline: `Stay signed in as ${account.name}`,
  };
}

/** `account` is who is signed in now. */
export function SignInLink({ offer, account }: { offer: Offer; account: Account | null }): ReactNode {
  const [busy, setBusy] = useState(false);
  const asked = offer.owner && question(offer.owner, account);
  const use = (): void => {
    setBusy(true);
    void accept(offer).finally(() => setBusy(false));
  };
  return (
    <main className="mx-auto grid min-h-full max-w-md content-center gap-7 p-6" data-testid="signin-link">
      <Wordmark />
      <div>
        <h1 className="font-semibold text-xl">{asked?.title ?? "This link cannot be used"}</h1>
        {asked && <p className="mt-2 text-muted-foreground">{asked.text}</p>}
      </div>
      {offer.error && <Banner kind="error">{offer.error}</Banner>}
      <div className="grid gap-3">
        {asked && account === null && <Use label={asked.accept} look="strong" busy={busy} onClick={use} />}
        <Button
          look={account === null ? "plain" : "strong"}
          disabled={busy}
          onClick={dismissOffer}
          data-testid="signin-keep"
        >
          {asked?.decline ?? "Back to the chats"}
        </Button>
        {asked && account !== null && <Use label={asked.accept} look="plain" busy={busy} onClick={use} />}
      </div>
    </main>
  );
}

interface UseProps {
  readonly label: string;
  readonly look: "strong" | "plain";
  readonly busy: boolean;
  readonly onClick: () => void;
}

const Use = ({ label, look, busy, onClick }: UseProps): ReactNode => (
  <Button look={look} disabled={busy} onClick={onClick} data-testid="signin-confirm">
    {label}
  </Button>
);
