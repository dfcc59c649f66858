/** Names that a page and its workers agree on, and random ids. */

/** The name of a user's worker. The page appends its build, so that two builds never share a worker. */
export const workerName = (userId: number): string => `keyside-${userId}`;

export interface ReadName {
  readonly user: string;
  readonly version: string;
}

export function readWorkerName(name: string): ReadName {
  const [, user = "0", version = "dev"] = /^keyside-(\d+)(?:@(.*))?$/.exec(name) ?? [];
  return { user, version };
}

/** The database of a user's vault. Another account in the same browser has another one. */
export const vaultName = (user: string): string => `keyside-vault-${user}`;

/** The Web Lock that the one running executor of a user holds. */
export const lockName = (user: string): string => `keyside-executor-${user}`;

/** The channel on which the workers of a user tell each other of changes. */
export const channelName = (user: string): string => `keyside-changes-${user}`;

const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/Edg\//, "Edge"],
  [/OPR\//, "Opera"],
  [/Firefox\//, "Firefox"],
  [/Chrome\//, "Chrome"],
  [/Safari\//, "Safari"],
];

const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/Android/, "Android"],
  [/iPhone/, "iPhone"],
  [/iPad/, "iPad"],
  [/Windows/, "Windows"],
  [/Mac OS X/, "Mac"],
  [/CrOS/, "ChromeOS"],
  [/Linux/, "Linux"],
];

/** The name of an executor in a browser until its user renames it, such as `Firefox on Linux`. */
export function browserName(userAgent: string): string {
  const first = (table: readonly (readonly [RegExp, string])[]) =>
    table.find(([pattern]) => pattern.test(userAgent))?.[1];
  return [first(BROWSERS) ?? "Browser", first(SYSTEMS)].filter(Boolean).join(" on ");
}

/** A random id in hexadecimal, two characters for each byte. Plain http has no `crypto.randomUUID`. */
export function randomId(bytes = 16): string {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (value) => value.toString(16).padStart(2, "0")).join("");
}
