/** Decides which addresses from a model the page may load or link to. */

/** A file that was uploaded to this server. No name begins with a dot, so none leads out of the folder. */
const UPLOAD = /^\/uploads(\/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+$/;

/**
 * Whether an image may be loaded: one that is here already, or an upload. Elsewhere it would tell what is read, and
 * any other path of this server may be a call.
 */
export function ownImage(url: string): boolean {
  return /^data:image\/(png|jpeg|gif|webp|avif);/i.test(url) || UPLOAD.test(url);
}

/** An address that a person may follow, or null. */
export function safeLink(url: string | undefined): string | null {
  if (!url) return null;
  return /^(https?:|mailto:|#|\/(?!\/))/i.test(url) ? url : null;
}

/** What to show of an address. */
export function shortUrl(url: string): string {
  try {
    return new URL(url).host.replace(/^www\./, "") || url;
  } catch {
    return url;
  }
}

/** The code in a pasted sign-in link, or in the code itself. */
export function signInCode(text: string): string {
  const trimmed = text.trim();
  const hash = trimmed.lastIndexOf("#");
  return hash < 0 ? trimmed : trimmed.slice(hash + 1);
}
