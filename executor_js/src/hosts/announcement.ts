/** Makes what an executor announces fit: a server refuses an announcement that goes beyond a limit (E1). */

import { byteLength } from "../limits";
import { type Clean, excerpt } from "../link/redaction";
import type { Connection, Failure, Model } from "../protocol.gen";

const MAX_CONNECTIONS = 100;
/** How many models all connections may have together. */
const MAX_MODELS = 5000;
/** Less than the 1 MiB that the server takes, because it may write numbers with more characters. */
const MAX_BYTES = 1_000_000;
const LONGEST_PROVIDER = 60;
const LONGEST_LABEL = 200;
const LONGEST_NAME = 300;
const LONGEST_CODE = 100;
const LONGEST_SENTENCE = 2000;

/** The connections, with the models that fit: the first ones, as they are listed. */
export function announceable(connections: readonly Connection[], clean: Clean): Connection[] {
  const heads = connections.slice(0, MAX_CONNECTIONS).map((connection) => headOf(connection, clean));
  let bytes = byteLength(JSON.stringify(heads));
  let count = 0;
  return heads.map((head, at) => {
    const models: Model[] = [];
    for (const model of connections[at]?.models ?? []) {
      const fitting = modelOf(model, clean);
      if (fitting === null) continue;
      const size = byteLength(JSON.stringify(fitting)) + 1;
      if (count === MAX_MODELS || bytes + size > MAX_BYTES) break;
      count += 1;
      bytes += size;
      models.push(fitting);
    }
    return { ...head, models };
  });
}

const headOf = (connection: Connection, clean: Clean): Connection => ({
  ...connection,
  provider: excerpt(connection.provider, LONGEST_PROVIDER, clean),
  label: excerpt(connection.label, LONGEST_LABEL, clean),
  models: [],
  error: connection.error && failureOf(connection.error, clean),
});

const failureOf = ({ code, message, retryable }: Failure, clean: Clean): Failure => ({
  code: excerpt(code, LONGEST_CODE, clean),
  message: excerpt(message, LONGEST_SENTENCE, clean),
  retryable,
});

/** Null for a model that cannot be named. An id that is cut would be another model's. */
function modelOf({ id, name, context_length, input, output }: Model, clean: Clean): Model | null {
  if (id === "" || id.length > LONGEST_NAME) return null;
  return {
    id,
    name: name && excerpt(name, LONGEST_NAME, clean),
    context_length: context_length !== null && isCount(context_length) ? context_length : null,
    input: bounded(input),
    output: bounded(output),
  };
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

const bounded = (value: number | null): number | null =>
  value !== null && Math.abs(value) <= Number.MAX_SAFE_INTEGER ? value : null;
