/** Joins the viewer's socket with what is shown: the open chat, the list, the models. */

import { create } from "zustand";
import { type ServerMessage, socketIo } from "../../src/index";
import { VERSION } from "../executor";
import { api } from "../lib/api";
import { everyPage } from "../lib/pages";
import { perFrame } from "../lib/paint";
import { ChatFollower, type Phase } from "../viewer/chat-follower";
import { type ChatView, withEarlier } from "../viewer/chat-view";
import { type Line, ViewerSocket } from "../viewer/socket";
import { refreshChats } from "./chats";
import { refreshModels } from "./models";
import { checkSession, useSession } from "./session";

interface Live {
  readonly line: Line;
  /** False while the server cannot store (D4). */
  readonly storeOk: boolean;
  readonly chatId: number | null;
  readonly view: ChatView | null;
  readonly phase: Phase | "none";
  readonly error: string | null;
  /** Why the beginning of a message could not be loaded the last time. It is tried again. */
  readonly missing: string | null;
}

export const useLive = create<Live>()(() => ({
  line: "connecting",
  storeOk: true,
  chatId: null,
  view: null,
  phase: "none",
  error: null,
  missing: null,
}));

let socket: ViewerSocket | null = null;
let follower: ChatFollower | null = null;

function show(): void {
  useLive.setState({
    chatId: follower?.chatId ?? null,
    view: follower?.view ?? null,
    phase: follower?.phase ?? "none",
    error: follower?.error?.message ?? null,
    missing: follower?.missing ?? null,
  });
}

const showSoon = perFrame(show);

function refreshLists(): void {
  void refreshChats();
  void refreshModels();
}

function line(state: Line): void {
  useLive.setState({ line: state });
  if (state === "connected") {
    // What was said on an earlier connection may be over: this one is told if it is not.
    useLive.setState({ storeOk: true });
    follower?.connected();
    refreshLists();
  } else follower?.disconnected();
}

function message(event: ServerMessage): void {
  switch (event.type) {
    case "chat:event":
      if (event.data.chat_id === follower?.chatId) follower.event(event.data);
      break;
    case "chats:heads": {
      const head = follower && event.data[String(follower.chatId)];
      if (follower && head !== undefined && head !== null) follower.head(head);
      break;
    }
    case "chat:reopen":
      if (event.data.chat_id === follower?.chatId) follower.reopen();
      break;
    case "chat:gone":
      if (event.data.chat_id === follower?.chatId) follower.gone();
      break;
    case "chats:changed":
      void refreshChats();
      break;
    case "executors:changed":
      void refreshModels();
      break;
    case "store":
      // The server repeats that it is away. Once it is back, what could not be read can be.
      if (event.data.ok && !useLive.getState().storeOk) refreshLists();
      useLive.setState({ storeOk: event.data.ok });
      break;
    default:
      // Something for executors, or of a newer server (C5).
      break;
  }
}

export function startLive(): void {
  if (socket) return;
  const { session } = useSession.getState();
  const userId = session.state === "in" ? session.account.id : undefined;
  const connect = socketIo({ url: location.origin, userId, client: { name: "page", version: VERSION } });
  socket = new ViewerSocket(connect, { line, message, refused: () => void checkSession() });
  socket.open();
  addEventListener("online", wake);
}

const wake = (): void => socket?.open();

export function stopLive(): void {
  removeEventListener("online", wake);
  follower?.close();
  follower = null;
  socket?.stop();
  socket = null;
  show();
}

/** Shows this chat, or none. */
export function followChat(chatId: number | null): void {
  if (follower?.chatId === chatId) return;
  if (follower) {
    socket?.closeChat(follower.chatId);
    follower.close();
  }
  follower = null;
  if (chatId !== null) {
    follower = new ChatFollower(chatId, {
      open: (request) => (socket ? socket.openChat(request) : Promise.reject(new Error("no socket"))),
      whole: (messageId) => api.message(chatId, messageId),
      later: (ms, act) => void setTimeout(act, ms),
      changed: showSoon,
    });
    if (useLive.getState().line === "connected") follower.connected();
  }
  show();
}

/** Another branch: the server moves the head, and the chat is read from a snapshot. */
export async function showBranch(messageId: string): Promise<void> {
  const mine = follower;
  if (!mine) return;
  await api.patchChat(mine.chatId, { head_id: messageId });
  if (mine === follower) mine.reopen(true);
}

/** Puts the older messages of the branch before those that are shown. */
export async function loadEarlier(beforeId: string): Promise<void> {
  const mine = follower;
  if (!mine) return;
  const older = await everyPage(
    (cursor) => api.branch(mine.chatId, beforeId, cursor),
    () => mine === follower,
  );
  if (mine === follower && mine.view) mine.view = withEarlier(mine.view, older);
  show();
}
