/** Joining calls that come while the same work is under way. */

import { describe, expect, it } from "vitest";
import { coalesced } from "../lib/coalesce";

describe("coalesced work", () => {
  it("runs once more after calls that came in between, and not at the same time", async () => {
    const ends: (() => void)[] = [];
    const work = coalesced(() => new Promise<void>((resolve) => void ends.push(resolve)));
    const done = work();
    void work();
    void work();
    expect(ends).toHaveLength(1);
    ends[0]?.();
    await Promise.resolve();
    await Promise.resolve();
    expect(ends).toHaveLength(2);
    ends[1]?.();
    await done;
    expect(ends).toHaveLength(2);
  });
});
