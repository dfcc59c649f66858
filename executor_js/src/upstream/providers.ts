/** The providers of the catalog, and the dialect of each. */

import { CATALOG, type Provider } from "../catalog.gen";
import type { Dialect } from "../dialects/dialect";
import { openai } from "../dialects/openai";
import type { Model } from "../protocol.gen";

const DIALECTS: Readonly<Record<Provider["dialect"], Dialect>> = { openai };

export const providerOf = (id: string): Provider | undefined => CATALOG.find((each) => each.id === id);

/** A provider that the catalog does not know speaks what all speak. */
export const dialectOf = (provider: string): Dialect => DIALECTS[providerOf(provider)?.dialect ?? "openai"];

export const modelNamed = (id: string): Model => ({
  id,
  name: null,
  context_length: null,
  input: null,
  output: null,
});
