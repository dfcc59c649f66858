/** What the buttons of a message do. */

import type { Message } from "../../src/index";
import { showBranch, useLive } from "../state/live";
import { modelFor, useModels } from "../state/models";
import { attempt } from "../state/notice";
import { goOn, regenerate, stopRuns } from "../state/send";
import { activeRuns } from "../viewer/chat-view";

/** The model that is chosen for the chat that is shown. */
function chosenModel(chatId: number): string {
  const { view } = useLive.getState();
  const model = modelFor(useModels.getState(), chatId, view?.chat.model ?? null);
  if (model === null) throw new Error("Choose a model first: add a connection.");
  return model;
}

/** The model that wrote a message, if it still can be asked. */
function sameModel(message: Message): string {
  const id = `${message.provider}/${message.model}`;
  const known = useModels.getState().models.find((choice) => choice.id === id || choice.id === message.model);
  return known?.id ?? chosenModel(message.chat_id);
}

export function askAgain(message: Message): void {
  const { parent_id: parent, chat_id: chatId } = message;
  if (parent !== null) attempt(async () => regenerate(chatId, parent, chosenModel(chatId)));
}

export const writeOn = (message: Message): void =>
  attempt(async () => goOn(message.chat_id, message.id, sameModel(message)));

export const switchTo = (messageId: string): void => attempt(() => showBranch(messageId));

/** Stops what is being written in the chat that is shown. */
export function stopAll(): void {
  const { view } = useLive.getState();
  const runs = view ? activeRuns(view) : [];
  if (runs.length > 0) attempt(() => stopRuns(runs.map((run) => run.id)));
}

export const stopOne = (runId: string): void => attempt(() => stopRuns([runId]));
