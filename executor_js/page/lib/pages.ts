/** Lists that the server gives out in pages. */

interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

/** All items of a list, page after page, for as long as somebody `wants` them. */
export async function everyPage<T>(
  read: (cursor: string | null) => Promise<Page<T>>,
  wants: () => boolean = () => true,
): Promise<T[]> {
  const found: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await read(cursor);
    for (const item of page.items) found.push(item);
    cursor = page.next_cursor;
  } while (cursor !== null && wants());
  return found;
}
