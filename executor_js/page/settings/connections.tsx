/** The connections of this browser: their state, and what can be done with each. */

import { Pencil, Plus, RefreshCw, Trash2 } from "lucide-react";
import { type ReactNode, useState } from "react";
import { CATALOG, type ConnectionState } from "../../src/index";
import { executor, useHost } from "../executor";
import { attempt } from "../state/notice";
import { openSettings } from "../state/settings";
import { Banner } from "../ui/banner";
import { Button, IconButton } from "../ui/button";
import { Confirm } from "../ui/confirm";
import { ConnectionForm } from "./connection-form";

function state({ models, error }: ConnectionState): { dot: string; text: string } {
  if (error) return { dot: "bg-danger", text: error.message };
  const text = models.length === 1 ? "1 model" : `${models.length} models`;
  return { dot: models.length > 0 ? "bg-good" : "bg-warning", text };
}

interface RowProps {
  readonly connection: ConnectionState;
  readonly onEdit: () => void;
}

function Row({ connection, onEdit }: RowProps): ReactNode {
  const [asking, setAsking] = useState(false);
  const provider = CATALOG.find((known) => known.id === connection.provider)?.name ?? connection.provider;
  const name = connection.label || provider;
  const { dot, text } = state(connection);
  return (
    <li className="flex items-center gap-3 py-3" data-testid="connection">
      <span className={`size-2 shrink-0 rounded-full ${dot}`} aria-hidden />
      <div className="min-w-0 flex-1">
        <p className="truncate font-medium text-sm">{name}</p>
        <p className="line-clamp-2 text-muted-foreground text-xs">{text}</p>
        <p className="truncate text-faint text-xs">{connection.baseUrl}</p>
      </div>
      <span className="flex">
        <IconButton
          label={`List the models of ${name} again`}
          onClick={() => attempt(() => executor().refreshConnection(connection.id))}
        >
          <RefreshCw />
        </IconButton>
        <IconButton label={`Edit ${name}`} data-testid="connection-edit" onClick={onEdit}>
          <Pencil />
        </IconButton>
        <IconButton label={`Remove ${name}`} data-testid="connection-remove" onClick={() => setAsking(true)}>
          <Trash2 />
        </IconButton>
      </span>
      {asking && (
        <Confirm
          title={`Remove ${name}?`}
          action="Remove"
          onConfirm={() => attempt(() => executor().removeConnection(connection.id))}
          onClose={() => setAsking(false)}
        >
          Its key is deleted from this browser. Your chats stay.
        </Confirm>
      )}
    </li>
  );
}

/** On plain http a browser offers no encryption: the keys are not written down there. */
const MemoryOnly = (): ReactNode => (
  <Banner kind="warning">
    Keys are kept in memory only, until the last tab of Keyside closes: on plain http a browser offers no
    encryption to store them with. Open Keyside by https or on localhost to keep them.
  </Banner>
);

export function Connections({ adding }: { adding: boolean }): ReactNode {
  const host = useHost();
  const [editing, setEditing] = useState<ConnectionState | null>(null);
  if (host === null) return <p className="text-muted-foreground text-sm">Starting…</p>;
  const done = (): void => {
    setEditing(null);
    openSettings("connections");
  };
  const memory = host.vault === "memory" && <MemoryOnly />;
  if (adding || editing) {
    return (
      <div className="grid gap-4">
        {memory}
        <ConnectionForm key={editing?.id ?? "new"} connection={editing} onDone={done} />
      </div>
    );
  }
  return (
    <div className="grid gap-4">
      <p className="text-muted-foreground text-sm">
        This browser calls these providers and servers for you. The key stays in this browser.
      </p>
      {memory}
      {host.connections.length > 0 && (
        <ul className="divide-y border-y">
          {host.connections.map((connection) => (
            <Row key={connection.id} connection={connection} onEdit={() => setEditing(connection)} />
          ))}
        </ul>
      )}
      <Button
        look="strong"
        className="justify-self-start"
        onClick={() => openSettings("add-connection")}
        data-testid="add-connection"
      >
        <Plus className="size-4" aria-hidden />
        Add a connection
      </Button>
    </div>
  );
}
