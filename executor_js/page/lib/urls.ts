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

/** An address that a person may follow, or null. No model has a sign-in link to give, at whatever address. */
export function safeLink(url: string | undefined): string | null {
  if (!url || !/^(https?:|mailto:|#|\/(?![\\/]))/i.test(url)) return null;
  try {
    // Browsers read an address as `URL` does: they drop tabs, for example. The base stands for the page's own address.
    return linkCode(new URL(url, "http://page.invalid").hash) === null ? url : null;
  } catch {
    return null;
  }
}

/** The code in the fragment of a sign-in link, or null. The page acts on no other fragment. */
export function linkCode(fragment: string): string | null {
  return /^#signin=([\w-]+)$/.exec(fragment)?.[1] ?? null;
}

/** What to show of an address. */
export function shortUrl(url: string): string {
  try {
    return new URL(url).host.replace(/^www\./, "") || url;
  } catch {
    return url;
  }
}

/** The code in what was pasted: a sign-in link, one of an older version (`#CODE`), or the code itself. */
export function signInCode(text: string): string {
  const trimmed = text.trim();
  return trimmed.slice(trimmed.lastIndexOf("#") + 1).replace(/^signin=/, "");
}
