/** The screen of a browser that is not signed in: how to get a link, and a field for it. */

import { type FormEvent, type ReactNode, useState } from "react";
import { signInCode } from "./lib/urls";
import { offer } from "./state/sign-in-link";
import { Banner } from "./ui/banner";
import { Button } from "./ui/button";
import { Field } from "./ui/field";
import { Wordmark } from "./ui/wordmark";

export function SignIn({ error }: { error: string | null }): ReactNode {
  const [text, setText] = useState("");
  const code = signInCode(text);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (code !== "") offer(code);
  };
  return (
    <main className="mx-auto grid min-h-full max-w-md content-center gap-7 p-6">
      <Wordmark />
      <div>
        <h1 className="font-semibold text-xl">Sign in</h1>
        <p className="mt-2 text-muted-foreground">
          Open a sign-in link. The server prints one when it starts; another comes from{" "}
          <code className="rounded-md bg-muted px-1.5 py-0.5 font-mono text-sm">keyside link</code> on its
          console, or from <em>Add a device</em> in the settings of a browser that is signed in.
        </p>
      </div>
      {error && <Banner kind="error">{error}</Banner>}
      <form className="grid gap-3" onSubmit={submit}>
        <Field
          label="Sign-in link or code"
          value={text}
          onChange={(event) => setText(event.target.value)}
          placeholder="Paste it here"
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          data-testid="signin-code"
        />
        <Button type="submit" look="strong" disabled={code === ""} data-testid="signin-submit">
          Sign in
        </Button>
      </form>
    </main>
  );
}
