/**
 * Folds a chat's events into what is shown, without side effects. A snapshot and the events give the same view (V1
 * to V3).
 */

import type {
  Chat,
  ChatEvent,
  Citation,
  DeltaEvent,
  Message,
  MessageAt,
  Run,
  Snapshot,
  ToolCall,
} from "../../src/index";

export interface ChatView {
  /** The last event that is folded in. */
  readonly seq: number;
  readonly chat: Chat;
  readonly messages: Readonly<Record<string, Message>>;
  readonly runs: Readonly<Record<string, Run>>;
  /** For each message: the ids of all messages with its parent, its own included, oldest first. */
  readonly siblings: Readonly<Record<string, readonly string[]>>;
  /** Whether the branch has older messages than those in this view. */
  readonly earlier: boolean;
  /** For each message of which only a part is here: the deltas since the snapshot, for when the rest comes. */
  readonly held: Readonly<Record<string, readonly DeltaEvent[]>>;
  /** For a message that was read when more was written than has come yet: its deltas up to here are in its text. */
  readonly joined: Readonly<Record<string, number>>;
}

export function fromSnapshot(snapshot: Snapshot, seq: number): ChatView {
  return {
    seq,
    chat: snapshot.chat,
    messages: Object.fromEntries(snapshot.messages.map((message) => [message.id, message])),
    runs: Object.fromEntries(snapshot.runs.map((run) => [run.id, run])),
    siblings: snapshot.siblings,
    earlier: snapshot.earlier,
    held: Object.fromEntries(
      snapshot.messages.filter((message) => message.partial).map((message) => [message.id, []]),
    ),
    joined: {},
  };
}

/** The same without the entries of these messages. */
function dropped<T>(of: Readonly<Record<string, T>>, ids: ReadonlySet<string>): Readonly<Record<string, T>> {
  return Object.keys(of).some((id) => ids.has(id))
    ? Object.fromEntries(Object.entries(of).filter(([id]) => !ids.has(id)))
    : of;
}

function withSibling(view: ChatView, message: Message): ChatView["siblings"] {
  if (view.siblings[message.id]) return view.siblings;
  const known = Object.values(view.messages).find(
    (other) => other.parent_id === message.parent_id && other.id !== message.id,
  );
  const group = [...(known ? (view.siblings[known.id] ?? [known.id]) : []), message.id];
  return { ...view.siblings, ...Object.fromEntries(group.map((id) => [id, group])) };
}

function withMessage(view: ChatView, message: Message): ChatView {
  const itself = new Set([message.id]);
  return {
    ...view,
    held: dropped(view.held, itself),
    joined: dropped(view.joined, itself),
    siblings: withSibling(view, message),
    messages: { ...view.messages, [message.id]: message },
  };
}

function without(view: ChatView, ids: readonly string[]): ChatView {
  const gone = new Set(ids);
  const siblings = Object.fromEntries(
    Object.entries(dropped(view.siblings, gone)).map(([id, group]) => [
      id,
      group.filter((other) => !gone.has(other)),
    ]),
  );
  return {
    ...view,
    siblings,
    messages: dropped(view.messages, gone),
    held: dropped(view.held, gone),
    joined: dropped(view.joined, gone),
  };
}

function mergeTool(known: ToolCall | undefined, added: ToolCall): ToolCall {
  if (!known) return added;
  return {
    index: known.index,
    id: known.id || added.id,
    name: known.name || added.name,
    arguments: known.arguments + added.arguments,
  };
}

/** Appends what was added to each tool call, by its index. */
export function appendTools(known: readonly ToolCall[], added: readonly ToolCall[]): ToolCall[] {
  const byIndex = new Map(known.map((tool) => [tool.index, tool]));
  for (const tool of added) byIndex.set(tool.index, mergeTool(byIndex.get(tool.index), tool));
  return [...byIndex.values()].sort((a, b) => a.index - b.index);
}

/** Appends citations. A source that is named again keeps its place. */
export function appendCitations(known: readonly Citation[], added: readonly Citation[]): Citation[] {
  return [...new Map([...known, ...added].map((citation) => [citation.url, citation])).values()];
}

function grown(message: Message, delta: DeltaEvent): Message {
  return {
    ...message,
    content: message.content + (delta.content ?? ""),
    reasoning: message.reasoning + (delta.reasoning ?? ""),
    tool_calls: delta.tool_calls?.length
      ? appendTools(message.tool_calls, delta.tool_calls)
      : message.tool_calls,
    images: delta.images?.length ? [...message.images, ...delta.images] : message.images,
    citations: delta.citations?.length
      ? appendCitations(message.citations, delta.citations)
      : message.citations,
  };
}

function withDelta(view: ChatView, delta: DeltaEvent): ChatView {
  const id = delta.message_id;
  const message = view.messages[id];
  // The message is on a branch that is not loaded. Its text comes with the snapshot when that branch is shown.
  if (!message || delta.seq <= (view.joined[id] ?? 0)) return view;
  const messages = { ...view.messages, [id]: grown(message, delta) };
  const held = view.held[id];
  return held ? { ...view, messages, held: { ...view.held, [id]: [...held, delta] } } : { ...view, messages };
}

/** The first message of which only a part is here. */
export const partialId = (view: ChatView): string | null => Object.keys(view.held)[0] ?? null;

/**
 * The view with the whole of a message of which it had a part. Deltas that came meanwhile are added if the message
 * does not have them yet; those that it has already and that are still to come are passed over.
 */
export function completed(view: ChatView, { message, seq }: MessageAt): ChatView {
  const held = view.held[message.id];
  if (!held) return view; // It has come as an event meanwhile, or is gone.
  const whole = held.filter((delta) => delta.seq > seq).reduce(grown, message);
  return {
    ...view,
    messages: { ...view.messages, [message.id]: whole },
    held: dropped(view.held, new Set([message.id])),
    joined: seq > view.seq ? { ...view.joined, [message.id]: seq } : view.joined,
  };
}

function change(view: ChatView, event: ChatEvent): ChatView {
  switch (event.kind) {
    case "message":
      return withMessage(view, event.message);
    case "removed":
      return without(view, event.message_ids);
    case "run":
      return { ...view, runs: { ...view.runs, [event.run.id]: event.run } };
    case "delta":
      return withDelta(view, event);
    case "chat":
      return { ...view, chat: event.chat };
    default:
      // A newer server has kinds of events that this page does not know (C5). They are counted and change nothing.
      return view;
  }
}

/** The view after one more event. The caller has checked that `event.seq` follows `view.seq`. */
export function fold(view: ChatView, event: ChatEvent): ChatView {
  return { ...change(view, event), seq: event.seq };
}

/** The messages from the first one to the head, oldest first. */
export function branch(view: ChatView): Message[] {
  const line: Message[] = [];
  let id = view.chat.head_id;
  while (id !== null) {
    const message: Message | undefined = view.messages[id];
    if (!message) break;
    line.push(message);
    id = message.parent_id;
  }
  return line.reverse();
}

/** Whether the head's branch is loaded. If it is not, the view is of another branch, and a snapshot is needed. */
export function headIsHere(view: ChatView): boolean {
  if (view.chat.head_id === null) return true;
  const first = branch(view)[0];
  if (!first) return false;
  return first.parent_id === null || view.earlier;
}

/** Adds older messages of the branch to the view. */
export function withEarlier(view: ChatView, older: readonly Message[]): ChatView {
  const messages = { ...Object.fromEntries(older.map((message) => [message.id, message])), ...view.messages };
  const first = branch({ ...view, messages })[0];
  return { ...view, messages, earlier: first !== undefined && first.parent_id !== null };
}

const ENDED: ReadonlySet<Run["state"]> = new Set(["done", "failed", "aborted", "interrupted"]);

export const isActive = (run: Run): boolean => !ENDED.has(run.state);

/** The runs that have not ended and write to the branch that is shown. */
export function activeRuns(view: ChatView): Run[] {
  const shown = new Set(branch(view).map((message) => message.id));
  return Object.values(view.runs).filter((run) => isActive(run) && shown.has(run.message_id));
}
