/** A modal dialog: the browser's own, which keeps the focus inside and closes on Escape. */

import { X } from "lucide-react";
import { type ReactNode, useId, useLayoutEffect, useRef } from "react";
import { IconButton } from "./button";

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly wide?: boolean;
  readonly children: ReactNode;
}

export function Dialog({ title, onClose, wide = false, children }: DialogProps): ReactNode {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // Closed while it is still in the document, it gives the focus back to where it was.
  useLayoutEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes it too
    <dialog
      ref={ref}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === ref.current && onClose()}
      className={`max-h-[min(44rem,92dvh)] w-[calc(100%-1.5rem)] overflow-hidden rounded-2xl border bg-background shadow-2xl ${wide ? "max-w-2xl" : "max-w-md"}`}
    >
      <div className="flex max-h-[inherit] flex-col">
        <header className="flex items-center justify-between gap-4 py-3.5 ps-6 pe-3.5">
          <h2 id={heading} className="font-semibold text-lg">
            {title}
          </h2>
          <IconButton label="Close" onClick={onClose}>
            <X />
          </IconButton>
        </header>
        <div className="min-h-0 overflow-y-auto px-6 pb-6">{children}</div>
      </div>
    </dialog>
  );
}
