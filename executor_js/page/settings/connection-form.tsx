/** The form of one connection: provider, address, label and key; tests it before it is saved. */

import { type FormEvent, type ReactNode, useState } from "react";
import { CATALOG, type ConnectionState, type TestResult } from "../../src/index";
import { executor } from "../executor";
import { sentence } from "../lib/api";
import { Banner } from "../ui/banner";
import { Button } from "../ui/button";
import { Field, Select } from "../ui/field";
import { draftOf, type Fields, fieldsOf, findProvider, storedKey } from "./connection-fields";
import { MoreFields } from "./connection-more";
import { ConnectionResult } from "./connection-result";

type Outcome = TestResult | "testing" | "saving" | null;

interface FormProps {
  readonly connection: ConnectionState | null;
  readonly onDone: () => void;
}

const KEY_STAYS = "The key stays in this browser. It is never sent to the Keyside server.";
const KEY_LEFT =
  "The stored key was entered for another base URL and is not sent to this one. Enter the key for this one. " +
  "When you save, the stored key is deleted.";

export function ConnectionForm({ connection, onDone }: FormProps): ReactNode {
  const [fields, setFields] = useState(() => fieldsOf(connection));
  const [outcome, setOutcome] = useState<Outcome>(null);
  const provider = findProvider(fields.provider);
  const stored = storedKey(fields, connection);
  const busy = outcome === "testing" || outcome === "saving";
  const set = (change: Partial<Fields>): void => {
    setFields((before) => ({ ...before, ...change }));
    setOutcome(null);
  };
  const fail = (failure: unknown): void =>
    setOutcome({ ok: false, error: { code: "internal", message: sentence(failure), retryable: true } });
  const test = (): void => {
    setOutcome("testing");
    executor().testConnection(draftOf(fields, connection)).then(setOutcome, fail);
  };
  const save = (event: FormEvent): void => {
    event.preventDefault();
    setOutcome("saving");
    executor().saveConnection(draftOf(fields, connection)).then(onDone, fail);
  };
  return (
    <form className="grid gap-4" onSubmit={save} autoComplete="off">
      <Select
        label="Provider"
        help={provider?.description}
        value={fields.provider}
        disabled={connection !== null}
        onChange={(event) =>
          set({ provider: event.target.value, baseUrl: findProvider(event.target.value)?.base_url ?? "" })
        }
        data-testid="connection-provider"
      >
        {CATALOG.map((known) => (
          <option key={known.id} value={known.id}>
            {known.name}
          </option>
        ))}
      </Select>
      <Field
        label="Base URL"
        help={provider?.hint}
        value={fields.baseUrl}
        onChange={(event) => set({ baseUrl: event.target.value })}
        inputMode="url"
        placeholder="https://"
        required
        spellCheck={false}
        data-testid="connection-url"
      />
      {provider?.key !== "none" && (
        <Field
          label={provider?.key === "optional" ? "API key (if it needs one)" : "API key"}
          help={stored === "left" ? KEY_LEFT : KEY_STAYS}
          type="password"
          autoComplete="off"
          data-1p-ignore
          data-lpignore="true"
          value={fields.key}
          placeholder={stored === "kept" ? "Stored. Type to replace it" : ""}
          onChange={(event) => set({ key: event.target.value })}
          data-testid="connection-key"
        />
      )}
      <Field
        label="Name (optional)"
        value={fields.label}
        placeholder={provider?.name}
        onChange={(event) => set({ label: event.target.value })}
        data-testid="connection-label"
      />
      <MoreFields fields={fields} set={set} />
      {provider?.browser === "no" && (
        <Banner kind="warning">
          This provider does not let browsers in. It works through the companion.
        </Banner>
      )}
      {outcome !== null && typeof outcome === "object" && <ConnectionResult result={outcome} />}
      <div className="flex flex-wrap justify-end gap-2">
        <Button look="quiet" onClick={onDone}>
          Cancel
        </Button>
        <Button onClick={test} disabled={busy || fields.baseUrl === ""} data-testid="connection-test">
          {outcome === "testing" ? "Testing…" : "Test"}
        </Button>
        <Button
          type="submit"
          look="strong"
          disabled={busy || fields.baseUrl === ""}
          data-testid="connection-save"
        >
          {outcome === "saving" ? "Saving…" : "Save"}
        </Button>
      </div>
    </form>
  );
}
