/** What can be asked, and which device would answer. */

import { create } from "zustand";
import type { ExecutorPage, ModelChoice } from "../../src/index";
import { api } from "../lib/api";
import { coalesced } from "../lib/coalesce";
import { local } from "../lib/storage";

/** An executor as the server lists it. */
export type Device = ExecutorPage["items"][number];

interface Models {
  readonly models: readonly ModelChoice[];
  readonly executors: readonly Device[];
  readonly loaded: boolean;
  /** Chosen in this tab, by chat (`new` for one that is not there yet). */
  readonly chosen: Readonly<Record<string, string>>;
  /** Chosen last, in any chat. */
  readonly last: string | null;
}

export const useModels = create<Models>()(() => ({
  models: [],
  executors: [],
  loaded: false,
  chosen: {},
  last: local.get("model"),
}));

export const refreshModels = coalesced(async () => {
  try {
    const [models, executors] = await Promise.all([api.models(), api.executors()]);
    useModels.setState({ models: models.items, executors: executors.items, loaded: true });
  } catch {
    // Shown by the line's state; the next connection asks again.
  }
});

export const chatKey = (chatId: number | null): string => (chatId === null ? "new" : String(chatId));

export function chooseModel(chatId: number | null, model: string): void {
  local.set("model", model);
  useModels.setState(({ chosen }) => ({ chosen: { ...chosen, [chatKey(chatId)]: model }, last: model }));
}

/** The model that would be asked: chosen here, else the chat's, else the last one, else the first that can run. */
export function modelFor(state: Models, chatId: number | null, chatModel: string | null): string | null {
  const chosen = state.chosen[chatKey(chatId)];
  if (chosen) return chosen;
  if (chatModel) return chatModel;
  if (state.last && state.models.some((model) => model.id === state.last)) return state.last;
  return (state.models.find((model) => model.online) ?? state.models[0])?.id ?? null;
}

const offers = (device: Device, { provider, model }: ModelChoice): boolean =>
  device.connections.some((one) => one.provider === provider && one.models.some(({ id }) => id === model));

/** The devices that offer a model, those that are there first. */
export function devicesOf(state: Models, choice: ModelChoice | undefined): Device[] {
  return state.executors
    .filter((device) => choice !== undefined && offers(device, choice))
    .sort((a, b) => Number(b.online) - Number(a.online));
}
