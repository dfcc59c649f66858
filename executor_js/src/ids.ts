/** Random ids, also where there is no `crypto.randomUUID` (plain http). */

/** Hexadecimal, two characters a byte. */
export function randomId(bytes = 16): string {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (value) => value.toString(16).padStart(2, "0")).join("");
}
