/** The form of a connection, from what is stored to the draft and back. */

import { describe, expect, it } from "vitest";
import type { ConnectionState } from "../../src/index";
import { draftOf, fieldsOf, storedKey } from "../settings/connection-fields";

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

  it("[S1] says when the stored key is left behind: it is kept for its own base URL only", () => {
    const at = (baseUrl: string) => ({ ...fieldsOf(STORED), baseUrl });
    for (const same of ["http://localhost:11434/v1", " http://LOCALHOST:11434/v1/ "]) {
      expect(storedKey(at(same), STORED)).toBe("kept");
      expect(draftOf(at(same), STORED)).not.toHaveProperty("key");
    }
    for (const other of [
      "http://localhost:11434/v2",
      "http://localhost:11434",
      "https://box.example/v1",
      "http",
      "",
    ]) {
      expect(storedKey(at(other), STORED)).toBe("left");
      expect(draftOf(at(other), STORED).key).toBe("");
      expect(draftOf({ ...at(other), key: "typed" }, STORED).key).toBe("typed");
    }
    expect(storedKey(at("https://box.example/v1"), { ...STORED, hasKey: false })).toBe("none");
    expect(storedKey(fieldsOf(null), null)).toBe("none");
  });

  it("keeps a key that was not typed, and splits the models", () => {
    expect(draftOf({ ...fieldsOf(STORED), key: " typed " }, STORED).key).toBe("typed");
    expect(draftOf({ ...fieldsOf(null), models: "a, b\nc" }, null)).toMatchObject({
      key: "",
      models: ["a", "b", "c"],
    });
  });
});
