/** Puts into one line which device answers and whether it is there: pure. */

import type { HostState, ModelChoice, Run } from "../../src/index";
import type { Line } from "../viewer/socket";
import type { Device } from "./models";

export interface Status {
  readonly tone: "good" | "busy" | "waiting" | "bad";
  readonly text: string;
}

export interface StatusInput {
  readonly line: Line;
  readonly storeOk: boolean;
  readonly host: HostState | null;
  /** Whether the models were read from the server. */
  readonly loaded: boolean;
  /** The model that is chosen, by id, and what is known of it. */
  readonly model: string | null;
  readonly choice: ModelChoice | undefined;
  /** The devices that offer it, those that are there first. */
  readonly devices: readonly Device[];
  readonly run: Run | undefined;
  /** Whether a message is to be sent as soon as the models, and the chat, were read. */
  readonly wanted: boolean;
}

const STORE_AWAY = "The server cannot store at the moment. Nothing is lost: it goes on when it can";

const status = (tone: Status["tone"], text: string): Status => ({ tone, text });

function server({ line, storeOk, wanted }: StatusInput): Status | null {
  if (wanted) {
    const when = line === "offline" ? "the server is back" : "your models are loaded";
    return status("waiting", `Your message is sent as soon as ${when}`);
  }
  if (line === "offline") return status("bad", "Offline: reconnecting");
  if (line === "connecting") return status("waiting", "Connecting");
  return storeOk ? null : status("bad", STORE_AWAY);
}

function running({ run, host, choice }: StatusInput): Status | null {
  if (!run) return null;
  const own = run.executor !== null && run.executor.id === host?.executorId;
  const device = own ? "this browser" : (run.executor?.name ?? "a device");
  switch (run.state) {
    case "queued":
      return status("waiting", `Waiting for a device that has ${choice?.name ?? run.model}`);
    case "offered":
      return status("busy", `Asking ${device}`);
    case "suspended":
      return status("waiting", `Waiting for ${device} to come back`);
    default:
      return status("busy", own ? "Running in this browser" : `Running on ${device}`);
  }
}

function problem({ host }: StatusInput): Status | null {
  if (host?.status === "refused") {
    return status("bad", host.error?.message ?? "This browser cannot run models: the server refused it.");
  }
  if (host?.error) return status("waiting", host.error.message);
  if (host?.status === "replaced")
    return status("waiting", "Reload: a newer version runs the models of this browser");
  return null;
}

const count = (host: HostState): number =>
  host.connections.reduce((sum, connection) => sum + connection.models.length, 0);

function idle({ host, loaded, model, choice, devices }: StatusInput): Status {
  if (!loaded) return status("waiting", "Loading your models…");
  if (model === null) return status("waiting", "No connection yet");
  if (!choice) return status("waiting", "None of your devices has this model now");
  const [first] = devices;
  if (!choice.online) return status("waiting", `Waits for ${first?.name ?? "a device that has it"}`);
  const own = host !== null && devices.some((device) => device.id === host.executorId && device.online);
  if (!own) return status("good", `Runs on ${first?.name ?? "another device"}`);
  const models = count(host);
  return status("good", `This browser is ready · ${models} ${models === 1 ? "model" : "models"}`);
}

export function describe(input: StatusInput): Status {
  return server(input) ?? running(input) ?? problem(input) ?? idle(input);
}
