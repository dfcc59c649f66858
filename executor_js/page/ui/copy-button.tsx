/** A button that copies a text, and says for a moment that it did. */

import { Check, Copy, X } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import { copyText } from "../lib/clipboard";
import { IconButton } from "./button";

const SHOWN = 1600;

export function CopyButton({ text, label }: { text: string; label: string }): ReactNode {
  const [result, setResult] = useState<"none" | "copied" | "failed">("none");
  useEffect(() => {
    if (result === "none") return;
    const timer = setTimeout(() => setResult("none"), SHOWN);
    return () => clearTimeout(timer);
  }, [result]);
  const copy = async (): Promise<void> => setResult((await copyText(text)) ? "copied" : "failed");
  const said = { none: label, copied: "Copied", failed: "Could not copy" }[result];
  return (
    <IconButton label={said} className="size-7" onClick={() => void copy()}>
      {result === "copied" ? <Check className="text-good" /> : result === "failed" ? <X /> : <Copy />}
    </IconButton>
  );
}
