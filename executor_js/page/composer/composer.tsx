/** Where a message is typed: Enter sends, Shift+Enter breaks the line, and what is typed survives a reload. */

import { ArrowUp, Square } from "lucide-react";
import {
  type KeyboardEvent,
  type ReactNode,
  type RefObject,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import type { Run } from "../../src/index";
import { useHost } from "../executor";
import { draftOf, typed, useDrafts } from "../state/drafts";
import { chatKey, modelFor, useModels } from "../state/models";
import { send, useOutbox } from "../state/send";
import { openSettings, useSettings } from "../state/settings";
import { stopAll } from "../thread/actions";
import { ModelPicker } from "./model-picker";
import { SendFailure } from "./send-failure";
import { StatusLine } from "./status-line";

const TALLEST = 240;

/** As tall as its text, up to a limit. */
function useAutoHeight(text: string) {
  const ref = useRef<HTMLTextAreaElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useLayoutEffect(() => {
    const area = ref.current;
    if (!area) return;
    area.style.height = "0";
    area.style.height = `${Math.min(area.scrollHeight, TALLEST)}px`;
  }, [text]);
  return ref;
}

/** The composer has the focus at first, and after the settings in which the first connection was added. */
function useFocus(area: RefObject<HTMLTextAreaElement | null>): void {
  const covered = useSettings((state) => state.page !== null);
  const connected = (useHost()?.connections.length ?? 0) > 0;
  const lacking = useRef(false);
  useEffect(() => focus(area.current), [area]);
  useEffect(() => {
    if (covered) {
      lacking.current ||= !connected;
    } else {
      if (lacking.current && connected) focus(area.current);
      lacking.current = false;
    }
  }, [area, covered, connected]);
}

function focus(area: HTMLTextAreaElement | null): void {
  // A phone's keyboard would cover what is to be read.
  if (matchMedia("(pointer: fine)").matches) area?.focus();
}

/**
 * What Enter does. Before it is known what can be asked, the text is kept and sent as soon as it is, unless it is
 * changed meanwhile: `wanted` is such a text.
 */
function useSubmit(text: string, known: boolean, act: () => void): { wanted: boolean; submit: () => void } {
  const [kept, setKept] = useState<string | null>(null);
  const wanted = kept !== null && kept === text;
  useEffect(() => {
    if (kept === null || (wanted && !known)) return;
    setKept(null);
    if (wanted) act();
  });
  return { wanted, submit: () => (known ? act() : setKept(text)) };
}

interface ActionProps {
  readonly running: boolean;
  readonly ready: boolean;
  readonly onSend: () => void;
}

function Action({ running, ready, onSend }: ActionProps): ReactNode {
  const look =
    "inline-grid size-9 place-items-center rounded-full bg-accent text-accent-foreground transition-opacity disabled:opacity-30";
  if (running) {
    return (
      <button
        type="button"
        aria-label="Stop"
        title="Stop (Esc)"
        data-testid="stop"
        className={look}
        onClick={stopAll}
      >
        <Square className="size-3.5 fill-current" />
      </button>
    );
  }
  return (
    <button
      type="button"
      aria-label="Send"
      title="Send (Enter)"
      data-testid="send"
      className={look}
      disabled={!ready}
      onClick={onSend}
    >
      <ArrowUp className="size-5" />
    </button>
  );
}

interface ComposerProps {
  readonly chatId: number | null;
  readonly chatModel: string | null;
  /** The last message of the branch that is shown: what is sent goes below it. */
  readonly head: string | null;
  /** The runs that write to that branch. */
  readonly runs: readonly Run[];
  /** Whether the chat is still being read. */
  readonly opening: boolean;
}

const placeholder = (known: boolean, model: string | null): string =>
  known && model === null ? "Add a connection to begin" : "Write a message";

export function Composer({ chatId, chatModel, head, runs, opening }: ComposerProps): ReactNode {
  const key = chatKey(chatId);
  const text = useDrafts((state) => state[key]?.text) ?? draftOf(key).text;
  const sending = useOutbox((state) => state[key]?.state === "sending");
  const model = useModels((state) => modelFor(state, chatId, chatModel));
  const known = useModels((state) => state.loaded) && !opening;
  const area = useAutoHeight(sending ? "" : text);
  useFocus(area);
  const running = runs.length > 0;
  const ready = text.trim() !== "" && !sending && !running;
  const { wanted, submit } = useSubmit(text, known, () => {
    if (!ready) return;
    if (model === null) openSettings("add-connection");
    else void send(chatId, head, model);
  });
  const onKeyDown = (event: KeyboardEvent): void => {
    // While an input method composes, Enter chooses a character (229: Safari, after the end of it).
    if (event.nativeEvent.isComposing || event.keyCode === 229) return;
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    submit();
  };
  return (
    <div className="mx-auto w-full max-w-3xl px-3 pb-[max(0.5rem,env(safe-area-inset-bottom))] md:px-6">
      <SendFailure chatKey={key} onRetry={submit} />
      <div className="rounded-3xl border bg-raised shadow-sm transition-colors focus-within:border-[color-mix(in_srgb,var(--accent)_55%,var(--border))]">
        <textarea
          ref={area}
          data-testid="composer"
          aria-label="Message"
          dir="auto"
          rows={1}
          placeholder={placeholder(known, model)}
          value={sending ? "" : text}
          onChange={(event) => !sending && typed(key, event.target.value)}
          onKeyDown={onKeyDown}
          className="block max-h-60 min-h-12 w-full resize-none bg-transparent px-5 pt-3.5 pb-1 text-base leading-relaxed outline-none placeholder:text-faint"
        />
        <div className="flex items-center justify-between gap-2 px-2.5 pb-2.5">
          <ModelPicker chatId={chatId} selected={model} />
          <Action running={running} ready={ready} onSend={submit} />
        </div>
      </div>
      <StatusLine model={model} run={runs[0]} wanted={wanted && ready} />
    </div>
  );
}
