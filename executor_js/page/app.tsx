/** Chooses what is shown: the sign-in, a link that was opened, or the chats of who is signed in. */

import { type ReactNode, useEffect } from "react";
import { SignIn } from "./sign-in";
import { SignInLink } from "./sign-in-link";
import { useSession } from "./state/session";
import { useOffer } from "./state/sign-in-link";
import { Banner } from "./ui/banner";
import { Wordmark } from "./ui/wordmark";
import { Workspace } from "./workspace";

/** Shown only if the answer takes longer than a blink. */
const Loading = (): ReactNode => <div className="h-full" aria-busy="true" />;

const Unreachable = ({ error }: { error: string }): ReactNode => (
  <main className="mx-auto grid h-full max-w-md content-center gap-6 p-6">
    <Wordmark />
    <Banner kind="warning">{error} Trying again on its own.</Banner>
  </main>
);

export function App(): ReactNode {
  const session = useSession((state) => state.session);
  const offer = useOffer((state) => state.offer);
  useEffect(() => {
    if (session.state !== "in") document.title = "Keyside";
  }, [session.state]);
  switch (session.state) {
    case "loading":
      return <Loading />;
    case "unreachable":
      return <Unreachable error={session.error} />;
    case "out":
      if (offer?.owner) return <SignInLink offer={offer} account={null} />;
      if (offer && !offer.error) return <Loading />;
      return <SignIn error={offer?.error ?? session.error} />;
    case "in":
      if (offer?.owner || offer?.error) return <SignInLink offer={offer} account={session.account} />;
      return <Workspace account={session.account} />;
  }
}
