/** Lists the models of a connection, and decides when to list them again. */

import type { Target } from "../dialects/dialect";
import { FailureError, fail, failure } from "../failures";
import type { Clean } from "../link/redaction";
import type { Failure, Model } from "../protocol.gen";
import { texts, whole } from "../upstream/body";
import { parseJson, type Who } from "../upstream/explain";
import { dialectOf, modelNamed, providerOf } from "../upstream/providers";
import { ask, type Upstream } from "../upstream/runner";
import type { ConnectionRecord, Listing } from "./connection";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const MOST_TEXT = 16 * 1024 * 1024;
const TIMEOUT = 20_000;

/** What comes back is clean. Throws a `FailureError` with a sentence for people. */
export async function listModels(
  record: ConnectionRecord,
  key: string | null,
  upstream: Upstream,
  clean: Clean,
): Promise<Model[]> {
  const target: Target = { provider: record.provider, baseUrl: record.baseUrl, key };
  const dialect = dialectOf(record.provider);
  const who = whoIs(record, key !== null, null, clean);
  const signal = AbortSignal.timeout(TIMEOUT);
  try {
    const response = await ask(dialect.models(target), who, upstream, signal);
    const text = response.body ? await whole(texts(response.body), MOST_TEXT) : null;
    const list = text === null ? null : dialect.readModels(clean(parseJson(text)));
    return list ?? fail("upstream_not_a_stream", notAList(record));
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new FailureError(
      failure("upstream_unreachable", `${record.label} did not list its models in time.`),
    );
  }
}

const notAList = ({ label }: ConnectionRecord): string =>
  `${label} answered with something that is no list of models. Check the connection's base URL; most end with /v1.`;

/** Whom a sentence about this connection is about. */
export const whoIs = (
  record: ConnectionRecord,
  hasKey: boolean,
  model: string | null,
  clean: Clean,
): Who => ({
  label: record.label,
  provider: providerOf(record.provider),
  baseUrl: record.baseUrl,
  hasKey,
  model,
  clean,
});

/** What to store after a successful listing: the server's models, and those that the user named besides. */
export function listed(record: ConnectionRecord, models: readonly Model[], now: number): Listing {
  const named = record.offered.filter((id) => !models.some((model) => model.id === id));
  return { models: [...models, ...named.map(modelNamed)], error: null, listedAt: now };
}

/** What to store after a failed listing: the models of the last one, or those that the user or the catalog names. */
export function notListed(record: ConnectionRecord, error: Failure, now: number): Listing {
  const known = record.offered.length > 0 ? record.offered : (providerOf(record.provider)?.models ?? []);
  const models = record.models.length > 0 ? record.models : known.map(modelNamed);
  // If the user named models because the server has no list, a missing list is no error.
  const expected = record.offered.length > 0 && !error.code.match(/unreachable|unauthorized|key/);
  return { models, error: expected ? null : error, listedAt: now };
}

/**
 * Whether to list again: an hour after a success, and sooner after a failure, because a local server may just not
 * run yet.
 */
export function isStale(record: ConnectionRecord, failures: number, now: number): boolean {
  const age = failures > 0 ? Math.min(MINUTE * 2 ** (failures - 1), HOUR) : HOUR;
  return now - record.listedAt >= age;
}
