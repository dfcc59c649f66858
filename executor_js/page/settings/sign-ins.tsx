/** The browsers that are signed in, and a button that signs each of them out. */

import { type ReactNode, useCallback, useEffect, useState } from "react";
import type { SignIn } from "../../src/index";
import { api } from "../lib/api";
import { ago } from "../lib/time";
import { attempt } from "../state/notice";
import { Button } from "../ui/button";

const NAMES = [
  ["Edg/", "Edge"],
  ["OPR/", "Opera"],
  ["Firefox/", "Firefox"],
  ["Chrome/", "Chrome"],
  ["Safari/", "Safari"],
] as const;
const SYSTEMS = ["Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux"] as const;

/** `Firefox on Linux`, from a user agent. */
export function browserName(agent: string): string {
  const browser = NAMES.find(([mark]) => agent.includes(mark))?.[1];
  const system = SYSTEMS.find((name) => agent.includes(name));
  if (!browser) return agent || "A browser";
  return system ? `${browser} on ${system === "Mac OS X" ? "macOS" : system}` : browser;
}

export function SignIns(): ReactNode {
  const [items, setItems] = useState<readonly SignIn[]>([]);
  const load = useCallback(async () => setItems((await api.signIns()).items), []);
  useEffect(() => attempt(load), [load]);
  const revoke = (id: string): void =>
    attempt(async () => {
      await api.revoke(id);
      await load();
    });
  if (items.length === 0) return null;
  return (
    <section>
      <h3 className="font-medium text-sm">Signed in</h3>
      <ul className="mt-2 divide-y border-y">
        {items.map((item) => (
          <li key={item.id} className="flex items-center gap-3 py-2.5" data-testid="sign-in">
            <div className="min-w-0 flex-1">
              <p className="truncate text-sm">{browserName(item.agent)}</p>
              <p className="text-muted-foreground text-xs">{ago(item.created_at, Date.now())}</p>
            </div>
            {item.current ? (
              <span className="px-2 text-muted-foreground text-xs">This browser</span>
            ) : (
              <Button onClick={() => revoke(item.id)}>Sign out</Button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}
