/**
 * Makes connections of environment variables such as `OPENAI_API_KEY` and `OLLAMA_HOST`, for an executor without a
 * page.
 */

import { CATALOG, type Provider } from "../catalog.gen";
import type { ConnectionDraft } from "../client/contract";

export type Environment = Readonly<Record<string, string | undefined>>;

/** A connection and its id. The id is the provider's, so that it is the same at each start. */
export interface NamedDraft {
  readonly id: string;
  readonly draft: ConnectionDraft;
}

export const connectionsFrom = (environment: Environment): NamedDraft[] =>
  CATALOG.flatMap((provider) => {
    const draft = draftFor(provider, environment);
    return draft ? [{ id: provider.id, draft }] : [];
  });

/**
 * The catalog names one variable for each provider, a key or an address. `X_BASE_URL` goes with `X_API_KEY`, and the
 * other way round.
 */
function draftFor(provider: Provider, environment: Environment): ConnectionDraft | null {
  const read = (name: string) => environment[name]?.trim() || undefined;
  const main = read(provider.env);
  if (main === undefined) return null;
  const family = provider.env.replace(/_(API_KEY|BASE_URL|HOST)$/, "");
  const named = provider.env.endsWith("_API_KEY") ? read(`${family}_BASE_URL`) : main;
  const key = provider.env.endsWith("_API_KEY") ? main : read(`${family}_API_KEY`);
  const baseUrl = provider.env.endsWith("_HOST") ? addressOf(main, provider) : (named ?? provider.base_url);
  return { provider: provider.id, label: provider.name, baseUrl, key: key ?? "" };
}

/** Makes a URL of what Ollama listens on: `OLLAMA_HOST` is often `0.0.0.0`, `:11434` or `box:8000`. */
function addressOf(text: string, { base_url }: Provider): string {
  const standard = new URL(base_url);
  const full = /^https?:\/\//i.test(text) ? text : `http://${text.startsWith(":") ? "localhost" : ""}${text}`;
  if (!URL.canParse(full)) return full;
  const url = new URL(full);
  const hasPort = url.port !== "" || /^https:/i.test(full);
  const host = url.hostname === "0.0.0.0" ? "127.0.0.1" : url.hostname;
  const path = url.pathname === "/" ? standard.pathname : url.pathname;
  return `${url.protocol}//${host}:${hasPort ? url.port || 443 : standard.port}${path}`;
}
