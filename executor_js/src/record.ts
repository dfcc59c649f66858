/** A stored connection, and what listing its models found. */

import type { Failure, Model } from "./protocol.gen";

/** A stored connection. Everything in it may be shown to its user; the key is elsewhere. */
export interface ConnectionRecord {
  readonly id: string;
  /** Counts the connections in the order in which they were made. */
  readonly position: number;
  readonly provider: string;
  readonly label: string;
  readonly baseUrl: string;
  /** Whether a key was entered for it, even if that key cannot be read any more. */
  readonly keyed: boolean;
  /** Models that the user named, for a server that cannot list its own. */
  readonly offered: readonly string[];
  readonly models: readonly Model[];
  readonly error: Failure | null;
  /** When its models were listed the last time, well or not; 0: never. */
  readonly listedAt: number;
}

export type Listing = Pick<ConnectionRecord, "models" | "error" | "listedAt">;
