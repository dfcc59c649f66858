/** The companion's program: it reads its options, keeps its identity in a file, and runs until a signal ends it. */

import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { failureOf } from "../failures";
import { Redaction } from "../link/redaction";
import type { Identity } from "../vault/vault";
import { openCompanion } from "./companion";
import { connectionsFrom } from "./environment";
import type { Host } from "./host";

const USAGE = `Usage: keyside-executor [--url URL] [--token TOKEN] [--name NAME]

Runs model calls for a Keyside server, with keys from this machine's environment (OPENAI_API_KEY, OLLAMA_HOST, ...).

  --url    the server, such as http://127.0.0.1:8000   (KEYSIDE_URL)
  --token  an API token with the scope executor         (KEYSIDE_TOKEN)
  --name   what this executor is called                 (KEYSIDE_EXECUTOR_NAME)

Its identity is kept in KEYSIDE_EXECUTOR_DIR, or in the folder keyside of the user's configuration.
`;

const OPTIONS = {
  url: { type: "string" },
  token: { type: "string" },
  name: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

const { env } = process;

/** What must not be printed, because logs are kept and shown: the keys of the environment, and the tokens. */
let secrets: readonly string[] = [
  ...connectionsFrom(env).map(({ draft }) => draft.key ?? ""),
  env.KEYSIDE_TOKEN ?? "",
];

const redaction = new Redaction(() => secrets);

/** The only way to print. What is said may come from the server or from an upstream. */
const say = (stream: NodeJS.WritableStream, text: string): boolean => stream.write(redaction.clean(text));

/** Whether a signal has told the program to end. */
let leaving = false;

async function main(): Promise<void> {
  const flags = readFlags();
  if (flags.help) return void say(process.stdout, USAGE);
  secrets = [...secrets, flags.token ?? ""];
  const url = flags.url ?? env.KEYSIDE_URL ?? "http://127.0.0.1:8000";
  const name = (flags.name ?? env.KEYSIDE_EXECUTOR_NAME)?.trim() || undefined;
  const host = await openCompanion({
    url,
    token: flags.token ?? env.KEYSIDE_TOKEN,
    version: env.KEYSIDE_VERSION ?? "",
    identity: await readIdentity(name),
    environment: env,
  });
  endOnSignals(host);
  host.subscribe(() => endIfRefused(host));
  reportAway(host, url);
  await host.start();
  reportReady(host);
}

function readFlags() {
  try {
    const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true });
    // It is not repeated: it may be a token that lost its option.
    if (positionals.length > 0) throw new Error("There is a word too many, which belongs to no option.");
    return values;
  } catch (error) {
    say(process.stderr, `${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    process.exit(2);
  }
}

/** Reads the identity from its file, or makes one. A name that is given replaces the one in the file. */
async function readIdentity(name: string | undefined): Promise<Identity> {
  const folder =
    env.KEYSIDE_EXECUTOR_DIR ?? join(env.XDG_CONFIG_HOME ?? join(homedir(), ".config"), "keyside");
  const file = join(folder, "executor.json");
  const kept = await readFile(file, "utf8").then(
    (text) => JSON.parse(text) as Identity,
    () => null,
  );
  if (kept) return { ...kept, name: name ?? kept.name };
  const fresh: Identity = {
    executorId: randomBytes(16).toString("hex"),
    secret: randomBytes(32).toString("hex"),
    name: name ?? hostname(),
  };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // It is written to another file first: if the program ended half way, the identity would be lost.
  await writeFile(`${file}.new`, JSON.stringify(fresh), { mode: 0o600 });
  await rename(`${file}.new`, file);
  return fresh;
}

/** Prints one line when the executor is ready for the first time. */
function reportReady(host: Host): void {
  let said = false;
  const look = () => {
    const { status, name, connections } = host.state();
    if (said || status !== "ready") return;
    said = true;
    const models = connections.reduce((count, connection) => count + connection.models.length, 0);
    say(process.stdout, `Keyside executor "${name}" is ready: ${models} models\n`);
  };
  host.subscribe(look);
  look();
}

/** Says that the server cannot be reached, or why it takes nobody for the moment. Each reason is said once. */
function reportAway(host: Host, url: string): void {
  let tried = false;
  let said: string | null = null;
  host.subscribe(() => {
    const { status, error } = host.state();
    tried ||= status === "connecting";
    if (status === "ready") said = null;
    const away = status === "offline" || (status === "connecting" && error !== null);
    if (!away || !tried || leaving) return;
    const why = error ? `. It says: ${error.message}` : "";
    if (said !== why) say(process.stderr, `Waiting for the server at ${url}${why}\n`);
    said = why;
  });
}

function endIfRefused(host: Host): void {
  const { status, error } = host.state();
  if (status === "refused")
    end(`The server refuses this executor: ${error?.message ?? "it gives no reason."}`);
  if (status === "replaced") end("Another executor with the same identity has taken over.");
}

function endOnSignals(host: Host): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void stopAndExit(host));
}

async function stopAndExit(host: Host): Promise<never> {
  leaving = true;
  await host.stop();
  process.exit(0);
}

function end(why: string): never {
  say(process.stderr, `${why}\n`);
  process.exit(1);
}

main().catch((error: unknown) => end(failureOf(error, "internal").message));
