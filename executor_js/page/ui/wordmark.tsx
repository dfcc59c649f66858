/** The name and its mark. */

import type { ReactNode } from "react";

export const Wordmark = ({ small = false }: { small?: boolean }): ReactNode => (
  <span className={`inline-flex items-center gap-2.5 font-semibold ${small ? "text-base" : "text-2xl"}`}>
    <svg viewBox="0 0 32 32" className={small ? "size-6" : "size-9"} aria-hidden="true">
      <rect width="32" height="32" rx="9" fill="#0f766e" />
      <g fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round" strokeLinejoin="round">
        <circle cx="12" cy="20" r="4.6" />
        <path d="M15.4 16.6 23 9m-3.2 3.2 2.8 2.8" />
      </g>
    </svg>
    Keyside
  </span>
);
