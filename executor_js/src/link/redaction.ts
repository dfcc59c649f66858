/** Cleans whatever leaves the executor: it replaces secrets, and halves of characters that cannot be stored (E13). */

import { FailureError, failureOf } from "../failures";
import { Finder } from "./finder";
import { withoutFinds } from "./joined-text";
import { LineRedaction } from "./line-redaction";
import { spellings } from "./spellings";
import type { Connect } from "./transport";
import { wellFormed } from "./well-formed";

/**
 * Shorter strings stay, because they may be words: a local server's key `none` must not remove that word from
 * answers.
 */
const SHORTEST_SECRET = 8;

export type Clean = <T>(value: T) => T;

/** Knows the secrets, and takes them out of whatever it is given. */
export class Redaction {
  private readonly stored: () => readonly string[];
  /** The secrets of work that is under way, which need not be stored, or no longer. */
  private inUse: readonly string[] = [];
  private known: readonly string[] = [];
  /** What `known` was put together from. */
  private from: readonly (readonly string[])[] = [];
  private finder = new Finder([]);

  /** `stored` is called for each string. It returns the same array until the secrets change. */
  constructor(stored: () => readonly string[]) {
    this.stored = stored;
  }

  readonly clean: Clean = (value) => {
    const finder = this.newest();
    return cleaned(value, finder) as typeof value;
  };

  /** For the lines of one attempt. */
  lines(): LineRedaction {
    return new LineRedaction(() => this.newest());
  }

  /** Does work that uses this secret, and cleans its result or its failure while the secret is known. */
  async during<T>(secret: string | null, work: () => Promise<T>): Promise<T> {
    const own = secret === null ? [] : [secret];
    this.inUse = [...this.inUse, ...own];
    try {
      return this.clean(await work());
    } catch (error) {
      throw new FailureError(this.clean(failureOf(error, "upstream_error")));
    } finally {
      for (const used of own) this.inUse = this.inUse.toSpliced(this.inUse.indexOf(used), 1);
    }
  }

  private newest(): Finder {
    const stored = this.stored();
    if (stored !== this.from[0] || this.inUse !== this.from[1]) {
      this.from = [stored, this.inUse];
      this.know([...new Set([...stored, ...this.inUse])]);
    }
    return this.finder;
  }

  /** Makes a new finder only if the secrets are others: to make one takes a few milliseconds. */
  private know(secrets: readonly string[]): void {
    const known = new Set(this.known);
    if (secrets.length === known.size && secrets.every((secret) => known.has(secret))) return;
    this.known = secrets;
    const long = secrets.filter((secret) => secret.length >= SHORTEST_SECRET);
    this.finder = new Finder(long.flatMap(spellings));
  }
}

/**
 * The beginning of a text that somebody else wrote. It is cleaned before it is cut, because half of a secret would
 * not be found. No character is cut in two.
 */
export function excerpt(text: string, most: number, clean: Clean): string {
  const whole = clean(text);
  const short = whole.slice(0, most);
  return /[\ud800-\udbff]$/.test(short) ? short.slice(0, -1) : short;
}

/** Wraps a transport so that all that an executor sends or answers is cleaned. It has no other way to the server. */
export function guarded(connect: Connect, clean: Clean): Connect {
  return (handlers) => {
    const transport = connect({
      opened: () => handlers.opened(),
      closed: () => handlers.closed(),
      refused: (error) => handlers.refused(error),
      received: (message, answer) => handlers.received(message, (value) => answer(clean(value))),
    });
    return {
      open: () => transport.open(),
      close: () => transport.close(),
      emit: (event, payload, answered) => transport.emit(event, withCleanLines(payload, clean), answered),
    };
  };
}

/** The lines of a frame were cleaned when the outbox took them: a frame must be the same each time it is sent. */
function withCleanLines(payload: unknown, clean: Clean): unknown {
  if (typeof payload !== "object" || payload === null || !("lines" in payload)) return clean(payload);
  const { lines, ...others } = payload;
  return { ...clean(others), lines };
}

function cleaned(value: unknown, finder: Finder): unknown {
  if (typeof value === "string") return wellFormed(withoutFinds(finder, value));
  if (Array.isArray(value)) return value.map((item) => cleaned(item, finder));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => [
    withoutFinds(finder, key),
    cleaned(item, finder),
  ]);
  return Object.fromEntries(entries);
}
