/** Reads a response's body as text, piece by piece as it arrives. */

/** Is told when the reader waits for bytes, and when some have come. */
export interface ReadWatch {
  waits(): void;
  heard(): void;
}

const UNWATCHED: ReadWatch = { waits: () => {}, heard: () => {} };

/**
 * Yields the text of a body. A connection that breaks ends the text like one that is closed: whether the answer was
 * complete is seen from what has arrived, not from how it stopped.
 */
export async function* texts(
  body: ReadableStream<Uint8Array>,
  watch: ReadWatch = UNWATCHED,
): AsyncGenerator<string, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      watch.waits();
      const part = await reader.read().catch(() => ({ done: true, value: undefined }) as const);
      watch.heard();
      if (part.done) break;
      yield decoder.decode(part.value, { stream: true });
    }
    yield decoder.decode();
  } finally {
    // If the caller stops reading early, the upstream must stop as well.
    reader.cancel().catch(() => {});
  }
}

/** Reads up to the piece that has the first character that is not blank. */
export async function beginning(text: AsyncGenerator<string, void, undefined>): Promise<string> {
  let head = "";
  while (head.trim() === "") {
    const part = await text.next();
    if (part.done) break;
    head += part.value;
  }
  return head;
}

/**
 * Reads all of it, or returns null if it has more than `most` characters. It is never cut: the half of a key at the
 * cut would not be recognised.
 */
export async function whole(text: AsyncIterable<string>, most: number): Promise<string | null> {
  let all = "";
  for await (const part of text) {
    all += part;
    if (all.length > most) return null;
  }
  return all;
}
