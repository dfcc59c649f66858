/** The executor without a browser: its keys come from the environment, its identity from its caller. */

import { systemClock } from "../clock";
import { socketIo } from "../link/socketio";
import { memoryStore } from "../vault/store";
import { type Identity, Vault } from "../vault/vault";
import { connectionsFrom, type Environment } from "./environment";
import { Host } from "./host";
import { nodeFetch } from "./node-fetch";

export interface CompanionOptions {
  /** The server's origin. */
  readonly url: string;
  readonly token?: string | undefined;
  readonly version: string;
  readonly identity: Identity;
  readonly environment: Environment;
}

/**
 * Makes the host, and does not connect yet. Throws a `FailureError` if the environment names an address that is no
 * URL.
 */
export async function openCompanion(options: CompanionOptions): Promise<Host> {
  const store = memoryStore();
  await store.put("meta", "identity", options.identity);
  const vault = await Vault.open(store, null, options.identity.name);
  for (const { id, draft } of connectionsFrom(options.environment)) await vault.save(draft, id);
  return new Host({
    vault,
    connect: socketIo({
      url: options.url,
      token: options.token,
      client: { name: "keyside-companion", version: options.version },
    }),
    clock: systemClock,
    upstream: { fetch: nodeFetch, place: { kind: "node", https: false } },
  });
}
