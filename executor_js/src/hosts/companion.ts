/** The executor without a browser: keys from the environment, identity from its caller. */

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

/** Connects nothing yet. Throws a `FailureError` if a base URL of the environment is none. */
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
