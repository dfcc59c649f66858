/** Reads base URLs as people type them, and tells what is known of a URL. */

import { fail } from "../failures";

/**
 * Returns the URL without its query, its fragment and a slash at the end. Throws a `FailureError` that says what is
 * wrong.
 */
export function normalizeBaseUrl(text: string): string {
  const url = parse(text.trim());
  if (url.username || url.password) {
    fail("bad_request", "The base URL holds a user name or a password. Enter the key in its own field.");
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}

function parse(text: string): URL {
  if (text === "") fail("bad_request", "Enter a base URL, such as https://api.example.com/v1.");
  if (!/^https?:\/\//i.test(text)) {
    fail(
      "bad_request",
      "The base URL must begin with https:// or http://, as in https://api.example.com/v1.",
    );
  }
  if (!URL.canParse(text)) fail("bad_request", "The base URL is not an address. Check it for typing errors.");
  return new URL(text);
}

/** Scheme, host and port. */
export const originOf = (url: string): string => new URL(url).origin;

/** Whether a base URL as somebody types it is the one that is stored. */
export function isBaseUrl(stored: string, typed: string): boolean {
  try {
    return normalizeBaseUrl(typed) === stored;
  } catch {
    return false;
  }
}

export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127\./.test(hostname)
  );
}
