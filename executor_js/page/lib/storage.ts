/** The browser's small storage; a browser that forbids it costs memory of a draft, never the page. */

import type { JsonValue } from "./json";

function read(area: "localStorage" | "sessionStorage", key: string): string | null {
  try {
    return window[area].getItem(`keyside.${key}`);
  } catch {
    return null;
  }
}

function write(area: "localStorage" | "sessionStorage", key: string, value: string | null): void {
  try {
    if (value === null) window[area].removeItem(`keyside.${key}`);
    else window[area].setItem(`keyside.${key}`, value);
  } catch {
    // Private mode, or full: the value lives as long as the page.
  }
}

/** Lasts: the theme, the model asked last. */
export const local = {
  get: (key: string) => read("localStorage", key),
  set: (key: string, value: string | null) => write("localStorage", key, value),
};

/** Lasts as long as the tab: what is being typed. */
export const tab = {
  get(key: string): JsonValue {
    const text = read("sessionStorage", key);
    try {
      return text === null ? null : (JSON.parse(text) as JsonValue);
    } catch {
      return null;
    }
  },
  set: (key: string, value: JsonValue) =>
    write("sessionStorage", key, value === null ? null : JSON.stringify(value)),
};
