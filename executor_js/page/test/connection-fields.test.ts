/** The form of a connection, from what is stored to the draft and back. */

import { describe, expect, it } from "vitest";
import type { ConnectionState } from "../../src/index";
import { draftOf, fieldsOf } from "../settings/connection-fields";

const STORED: ConnectionState = {
  id: "c",
  provider: "ollama",
  label: "Box",
  baseUrl: "http://localhost:11434/v1",
  hasKey: true,
  models: [],
  error: null,
  firstLineTimeout: 1_800,
  idleTimeout: null,
};

describe("the form of a connection", () => {
  it("[E8] shows the stored waits, and gives them back as they are", () => {
    const fields = fieldsOf(STORED);
    expect(fields).toMatchObject({ firstLineTimeout: "1800", idleTimeout: "" });
    expect(draftOf(fields, STORED)).toEqual({
      id: "c",
      provider: "ollama",
      label: "Box",
      baseUrl: "http://localhost:11434/v1",
      firstLineTimeout: 1_800,
      idleTimeout: null,
    });
  });

  it("[E8] an empty wait leaves it to the server, and one that is no number is not passed over", () => {
    const fields = { ...fieldsOf(STORED), firstLineTimeout: "  ", idleTimeout: "two minutes" };
    expect(draftOf(fields, STORED)).toMatchObject({ firstLineTimeout: null, idleTimeout: Number.NaN });
    expect(draftOf({ ...fields, idleTimeout: " 90.5 " }, STORED).idleTimeout).toBe(90.5);
  });

  it("keeps a key that was not typed, and splits the models", () => {
    expect(draftOf({ ...fieldsOf(STORED), key: " typed " }, STORED).key).toBe("typed");
    expect(draftOf({ ...fieldsOf(null), models: "a, b\nc" }, null)).toMatchObject({
      key: "",
      models: ["a", "b", "c"],
    });
  });
});
