/** A labelled field of a form, with a line of help below it. */

import { type ComponentProps, type ReactNode, useId } from "react";

const INPUT =
  "w-full min-h-10 rounded-lg border bg-raised px-3 py-2 text-base sm:text-sm placeholder:text-faint disabled:opacity-50";

type FieldProps = ComponentProps<"input"> & { label: string; help?: ReactNode };

export function Field({ label, help, ...rest }: FieldProps): ReactNode {
  const id = useId();
  const helpId = `${id}-help`;
  return (
    <div>
      <label htmlFor={id} className="mb-1.5 block font-medium text-sm">
        {label}
      </label>
      <input id={id} aria-describedby={help ? helpId : undefined} className={INPUT} {...rest} />
      {help && (
        <p id={helpId} className="mt-1.5 text-muted-foreground text-xs">
          {help}
        </p>
      )}
    </div>
  );
}

interface SelectProps extends ComponentProps<"select"> {
  readonly label: string;
  readonly help?: ReactNode;
}

export function Select({ label, help, ...rest }: SelectProps): ReactNode {
  const id = useId();
  return (
    <div>
      <label htmlFor={id} className="mb-1.5 block font-medium text-sm">
        {label}
      </label>
      <select id={id} className={INPUT} {...rest} />
      {help && <p className="mt-1.5 text-muted-foreground text-xs">{help}</p>}
    </div>
  );
}
