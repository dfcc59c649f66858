/** The devices of the account: this one's name, a link for another one, those signed in, those away, signing out. */

import { type FormEvent, type ReactNode, useState } from "react";
import type { Account } from "../../src/index";
import { executor, useHost } from "../executor";
import { attempt } from "../state/notice";
import { signOut } from "../state/session";
import { closeSettings } from "../state/settings";
import { Button } from "../ui/button";
import { Field } from "../ui/field";
import { DeviceLink } from "./device-link";
import { KnownDevices } from "./known-devices";
import { SignIns } from "./sign-ins";

function DeviceName({ name }: { name: string }): ReactNode {
  const [text, setText] = useState(name);
  const wanted = text.trim();
  const save = (event: FormEvent): void => {
    event.preventDefault();
    if (wanted !== "" && wanted !== name) attempt(() => executor().rename(wanted));
  };
  return (
    <form onSubmit={save} className="flex items-end gap-2">
      <div className="flex-1">
        <Field
          label="Name of this device"
          value={text}
          maxLength={200}
          onChange={(event) => setText(event.target.value)}
          data-testid="device-name"
        />
      </div>
      <Button type="submit" className="min-h-10" disabled={wanted === "" || wanted === name}>
        Rename
      </Button>
    </form>
  );
}

const leave = (): void =>
  attempt(async () => {
    await signOut();
    closeSettings();
  });

export function Devices({ account }: { account: Account }): ReactNode {
  const host = useHost();
  const local = account.auth === "local";
  return (
    <div className="grid gap-7">
      {host && <DeviceName key={host.name} name={host.name} />}
      {local && <DeviceLink />}
      {local && <SignIns />}
      <KnownDevices />
      {local && (
        <section className="flex flex-wrap items-center justify-between gap-3 border-t pt-5">
          <p className="text-muted-foreground text-sm">Signed in as {account.name}</p>
          <Button look="danger" onClick={leave} data-testid="sign-out">
            Sign out
          </Button>
        </section>
      )}
    </div>
  );
}
