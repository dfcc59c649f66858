/** Finds a provider in the catalog, and the dialect that it speaks. */

import { CATALOG, type Provider } from "../catalog.gen";
import type { Dialect } from "../dialects/dialect";
import { openai } from "../dialects/openai";
import type { Model } from "../protocol.gen";

const DIALECTS: Readonly<Record<Provider["dialect"], Dialect>> = { openai };

export const providerOf = (id: string): Provider | undefined => CATALOG.find((each) => each.id === id);

/** A provider that is not in the catalog is taken to speak OpenAI's dialect, as most do. */
export const dialectOf = (provider: string): Dialect => DIALECTS[providerOf(provider)?.dialect ?? "openai"];

export const modelNamed = (id: string): Model => ({
  id,
  name: null,
  context_length: null,
  input: null,
  output: null,
});
