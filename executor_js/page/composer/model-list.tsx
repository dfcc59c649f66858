/** The models by provider, with a search; one whose device is away can be chosen too, and waits for it. */

import { Check } from "lucide-react";
import {
  Fragment,
  type KeyboardEvent,
  type ReactNode,
  useEffect,
  useId,
  useMemo,
  useRef,
  useState,
} from "react";
import { CATALOG, type ModelChoice } from "../../src/index";
import { chooseModel, devicesOf, useModels } from "../state/models";

const providerName = (id: string): string => CATALOG.find((provider) => provider.id === id)?.name ?? id;

/** Those that hold every word of the search, by provider, as the server orders them. */
export function searchModels(models: readonly ModelChoice[], search: string): ModelChoice[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = models.filter((model) => {
    const text = `${model.id} ${model.name} ${providerName(model.provider)}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const order = [...new Set(hits.map((model) => model.provider))];
  return order.flatMap((provider) => hits.filter((model) => model.provider === provider));
}

interface OptionProps {
  readonly id: string;
  readonly model: ModelChoice;
  readonly selected: boolean;
  readonly active: boolean;
  readonly onPick: () => void;
}

function Option({ id, model, selected, active, onPick }: OptionProps): ReactNode {
  const ref = useRef<HTMLDivElement>(null);
  const waits = useModels((state) =>
    model.online ? null : (devicesOf(state, model)[0]?.name ?? "a device"),
  );
  useEffect(() => {
    if (active) ref.current?.scrollIntoView({ block: "nearest" });
  }, [active]);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are the search field's
    // biome-ignore lint/a11y/useFocusableInteractive: the search field keeps the focus
    <div
      ref={ref}
      id={id}
      role="option"
      aria-selected={selected}
      data-testid="model-option"
      data-model={model.id}
      onClick={onPick}
      className={`flex min-h-9 cursor-pointer items-center gap-3 rounded-lg px-3 py-1 text-sm hover:bg-muted ${active ? "bg-muted" : ""}`}
    >
      <span className={`min-w-0 flex-1 truncate ${model.online ? "" : "text-faint"}`}>{model.name}</span>
      {waits !== null && <span className="shrink-0 text-faint text-xs">waits for {waits}</span>}
      {selected && <Check className="size-4 shrink-0 text-accent" aria-hidden />}
    </div>
  );
}

/** Arrow keys move, Enter chooses, Escape closes. */
function useKeys(
  found: readonly ModelChoice[],
  start: number,
  pick: (model: ModelChoice) => void,
  close: () => void,
) {
  const [at, setAt] = useState(start);
  const active = Math.min(Math.max(at, 0), found.length - 1);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined && found.length > 0) setAt((active + step + found.length) % found.length);
    else if (event.key === "Enter" && found[active]) pick(found[active]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  };
  return { active, onKeyDown, reset: () => setAt(0) };
}

interface ModelListProps {
  readonly chatId: number | null;
  readonly selected: string | null;
  readonly onClose: () => void;
}

export function ModelList({ chatId, selected, onClose }: ModelListProps): ReactNode {
  const models = useModels((state) => state.models);
  const [search, setSearch] = useState("");
  const found = useMemo(() => searchModels(models, search), [models, search]);
  const list = useId();
  const pick = (model: ModelChoice): void => {
    chooseModel(chatId, model.id);
    onClose();
  };
  const start = found.findIndex((model) => model.id === selected);
  const { active, onKeyDown, reset } = useKeys(found, start, pick, onClose);
  return (
    <div className="absolute start-0 bottom-full z-20 mb-2 flex max-h-[min(24rem,60dvh)] w-[min(24rem,calc(100vw-2.5rem))] flex-col rounded-2xl border bg-raised p-1.5 shadow-xl">
      <input
        // biome-ignore lint/a11y/noAutofocus: the reader has just opened this to choose
        autoFocus
        role="combobox"
        aria-expanded
        aria-controls={list}
        aria-activedescendant={found[active] && `${list}-${active}`}
        aria-label="Search models"
        data-testid="model-search"
        placeholder="Search models"
        value={search}
        onChange={(event) => {
          setSearch(event.target.value);
          reset();
        }}
        onKeyDown={onKeyDown}
        className="min-h-10 rounded-xl bg-transparent px-3 text-base outline-none placeholder:text-faint sm:text-sm"
      />
      <div id={list} role="listbox" aria-label="Models" className="min-h-0 overflow-y-auto border-t pt-1.5">
        {found.map((model, index) => (
          <Fragment key={model.id}>
            {model.provider !== found[index - 1]?.provider && (
              <div role="presentation" className="px-3 pt-2 pb-1 font-medium text-faint text-xs">
                {providerName(model.provider)}
              </div>
            )}
            <Option
              id={`${list}-${index}`}
              model={model}
              selected={model.id === selected}
              active={index === active}
              onPick={() => pick(model)}
            />
          </Fragment>
        ))}
        {found.length === 0 && <p className="px-3 py-2 text-faint text-sm">No model is called so.</p>}
      </div>
    </div>
  );
}
