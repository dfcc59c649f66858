/** A button that names the chosen model, and opens the list of those that can be asked. */

import { ChevronDown } from "lucide-react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { useModels } from "../state/models";
import { openSettings } from "../state/settings";
import { ModelList } from "./model-list";

interface ModelPickerProps {
  readonly chatId: number | null;
  readonly selected: string | null;
}

export function ModelPicker({ chatId, selected }: ModelPickerProps): ReactNode {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const loaded = useModels((state) => state.loaded);
  const choice = useModels((state) => state.models.find((model) => model.id === selected));
  useEffect(() => {
    if (!open) return;
    const onPointer = (event: PointerEvent): void => {
      if (event.target instanceof Node && !box.current?.contains(event.target)) setOpen(false);
    };
    addEventListener("pointerdown", onPointer);
    return () => removeEventListener("pointerdown", onPointer);
  }, [open]);
  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };
  const press = (): void => (selected === null ? openSettings("add-connection") : setOpen(!open));
  return (
    <div ref={box} className="relative min-w-0">
      <button
        ref={button}
        type="button"
        data-testid="model-picker"
        aria-haspopup={selected === null ? "dialog" : "listbox"}
        aria-expanded={open}
        disabled={!loaded && selected === null}
        onClick={press}
        className="inline-flex min-h-9 max-w-full items-center gap-1.5 rounded-full px-3 text-muted-foreground text-sm transition-colors hover:bg-muted hover:text-foreground"
      >
        <span className="truncate">
          {choice?.name ?? selected ?? (loaded ? "Add a connection" : "Loading your models…")}
        </span>
        {selected !== null && <ChevronDown className="size-3.5 shrink-0" aria-hidden />}
      </button>
      {open && <ModelList chatId={chatId} selected={selected} onClose={close} />}
    </div>
  );
}
