/** The form of one connection: provider, address, label and key; tests it before it is saved. */

import { ChevronRight } from "lucide-react";
import { type FormEvent, type ReactNode, useState } from "react";
import {
  CATALOG,
  type ConnectionDraft,
  type ConnectionState,
  type Provider,
  type TestResult,
} from "../../src/index";
import { executor } from "../executor";
import { sentence } from "../lib/api";
import { Banner } from "../ui/banner";
import { Button } from "../ui/button";
import { Field, Select } from "../ui/field";
import { ConnectionResult } from "./connection-result";

interface Fields {
  readonly provider: string;
  readonly baseUrl: string;
  readonly label: string;
  readonly key: string;
  /** Model ids, separated by commas: for a server that cannot list its own. */
  readonly models: string;
}

const find = (id: string): Provider | undefined => CATALOG.find((provider) => provider.id === id);

function initial(connection: ConnectionState | null): Fields {
  const provider = connection ? find(connection.provider) : CATALOG[0];
  return {
    provider: connection?.provider ?? provider?.id ?? "",
    baseUrl: connection?.baseUrl ?? provider?.base_url ?? "",
    label: connection?.label ?? "",
    key: "",
    models: "",
  };
}

/** What the executor is told. A key that was not typed is left as it is stored. */
export function draftOf(fields: Fields, connection: { id: string } | null): ConnectionDraft {
  const models = fields.models.split(/[\s,]+/).filter(Boolean);
  const label = fields.label.trim() || (find(fields.provider)?.name ?? "");
  return {
    ...(connection ? { id: connection.id } : {}),
    provider: fields.provider,
    label,
    baseUrl: fields.baseUrl.trim(),
    ...(fields.key === "" && connection ? {} : { key: fields.key.trim() }),
    ...(models.length > 0 ? { models } : {}),
  };
}

type Outcome = TestResult | "testing" | "saving" | null;

interface FormProps {
  readonly connection: ConnectionState | null;
  readonly onDone: () => void;
}

export function ConnectionForm({ connection, onDone }: FormProps): ReactNode {
  const [fields, setFields] = useState(() => initial(connection));
  const [outcome, setOutcome] = useState<Outcome>(null);
  const provider = find(fields.provider);
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
          set({ provider: event.target.value, baseUrl: find(event.target.value)?.base_url ?? "" })
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
          help="The key stays in this browser. It is never sent to the Keyside server."
          type="password"
          autoComplete="off"
          data-1p-ignore
          data-lpignore="true"
          value={fields.key}
          placeholder={connection?.hasKey ? "Stored. Type to replace it" : ""}
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
      <details className="group/more text-sm">
        <summary className="inline-flex list-none items-center gap-1 text-muted-foreground hover:text-foreground">
          <ChevronRight className="size-4 transition-transform group-open/more:rotate-90" aria-hidden />
          More
        </summary>
        <div className="pt-3">
          <Field
            label="Models"
            help="Only for a server that cannot list its own: their ids, separated by commas."
            value={fields.models}
            onChange={(event) => set({ models: event.target.value })}
            spellCheck={false}
            data-testid="connection-models"
          />
        </div>
      </details>
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
