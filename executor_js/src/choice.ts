/** Finds the connection that a run means (E2). */

import { fail } from "./failures";
import type { ModelRef } from "./protocol.gen";
import type { ConnectionRecord } from "./record";

export interface Choice {
  readonly record: ConnectionRecord;
  /** The model's id as the upstream knows it. */
  readonly model: string;
}

/** Throws `connection_unknown` where nothing fits. */
export function choose(records: readonly ConnectionRecord[], wanted: ModelRef): Choice {
  if (wanted.connection_id !== null) {
    const record = records.find((each) => each.id === wanted.connection_id);
    return record ? { record, model: wanted.id } : fail("connection_unknown");
  }
  return chooseByModel(records, wanted) ?? fail("connection_unknown");
}

/** A run that names this executor, and no connection: the model is as its caller wrote it, bare or as `provider/id`. */
function chooseByModel(records: readonly ConnectionRecord[], wanted: ModelRef): Choice | undefined {
  const fitting = records.filter((each) => wanted.provider === null || each.provider === wanted.provider);
  const [only] = fitting.length === 1 ? fitting : [];
  return (
    offering(fitting, (record) => withoutProvider(record, wanted.id)) ??
    offering(fitting, () => wanted.id) ??
    unlisted(fitting, wanted.id) ??
    (only && { record: only, model: withoutProvider(only, wanted.id) ?? wanted.id })
  );
}

function offering(
  records: readonly ConnectionRecord[],
  idFor: (record: ConnectionRecord) => string | null,
): Choice | undefined {
  for (const record of records) {
    const model = idFor(record);
    if (model !== null && record.models.some((each) => each.id === model)) return { record, model };
  }
  return undefined;
}

/** A connection of the provider that is named, though its list does not have the model: lists can be old. */
function unlisted(records: readonly ConnectionRecord[], id: string): Choice | undefined {
  for (const record of records) {
    const model = withoutProvider(record, id);
    if (model !== null) return { record, model };
  }
  return undefined;
}

function withoutProvider({ provider }: ConnectionRecord, id: string): string | null {
  const prefix = `${provider}/`;
  return id.startsWith(prefix) && id.length > prefix.length ? id.slice(prefix.length) : null;
}
