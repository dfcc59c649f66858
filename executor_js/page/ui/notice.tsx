/** Shows the one short message about something that did not work. */

import { X } from "lucide-react";
import { type ReactNode, useEffect } from "react";
import { dismiss, useNotice } from "../state/notice";
import { IconButton } from "./button";

const SHOWN = 8000;

export function Notice(): ReactNode {
  const text = useNotice((state) => state.text);
  useEffect(() => {
    if (text === null) return;
    const timer = setTimeout(dismiss, SHOWN);
    return () => clearTimeout(timer);
  }, [text]);
  if (text === null) return null;
  return (
    <div
      role="alert"
      className="fixed inset-x-3 top-3 z-50 mx-auto flex max-w-md items-start gap-3 rounded-xl border bg-raised py-2 ps-4 pe-2 text-sm shadow-lg"
    >
      <p className="flex-1 py-1">{text}</p>
      <IconButton label="Dismiss" onClick={dismiss}>
        <X />
      </IconButton>
    </div>
  );
}
