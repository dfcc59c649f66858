/** Reads a response's body as text, piece by piece as it arrives. */

/**
 * A connection that breaks ends the text like one that is closed: whether the answer was complete is seen
 * from what has arrived, not from how it stopped.
 */
export async function* texts(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const part = await reader.read().catch(() => ({ done: true, value: undefined }) as const);
      if (part.done) break;
      yield decoder.decode(part.value, { stream: true });
    }
    yield decoder.decode();
  } finally {
    // Whoever stops reading early wants the upstream to stop as well.
    reader.cancel().catch(() => {});
  }
}

/** What stands at the beginning, up to the piece that has the first character that is not blank. */
export async function beginning(text: AsyncGenerator<string, void, undefined>): Promise<string> {
  let head = "";
  while (head.trim() === "") {
    const part = await text.next();
    if (part.done) break;
    head += part.value;
  }
  return head;
}

/** All of it, or its first `most` characters. */
export async function whole(text: AsyncIterable<string>, most: number): Promise<string> {
  let all = "";
  for await (const part of text) {
    all += part;
    if (all.length >= most) break;
  }
  return all.slice(0, most);
}
