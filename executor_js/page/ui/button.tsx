/** The page's buttons: a plain one, a strong one, and one that is only an icon. */

import type { ComponentProps, ReactNode } from "react";

const LOOKS = {
  plain: "border bg-raised hover:bg-muted",
  strong: "bg-accent text-accent-foreground hover:opacity-90",
  quiet: "hover:bg-muted",
  danger: "border text-danger hover:bg-muted",
} as const;

type ButtonProps = ComponentProps<"button"> & { look?: keyof typeof LOOKS };

export function Button({ look = "plain", className = "", ...rest }: ButtonProps): ReactNode {
  return (
    <button
      type="button"
      className={`inline-flex min-h-9 items-center justify-center gap-2 rounded-lg px-3.5 py-1.5 font-medium text-sm transition-colors disabled:opacity-45 ${LOOKS[look]} ${className}`}
      {...rest}
    />
  );
}

type IconButtonProps = Omit<ComponentProps<"button">, "aria-label"> & { label: string };

/** `label` is read aloud and shown on hover. */
export function IconButton({ label, className = "", ...rest }: IconButtonProps): ReactNode {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      className={`inline-grid size-8 shrink-0 place-items-center rounded-lg text-muted-foreground transition-colors hover:bg-muted hover:text-foreground disabled:opacity-40 [&_svg]:size-4 ${className}`}
      {...rest}
    />
  );
}
