import { beforeEach, describe, expect, it } from "vitest";
import { Redaction } from "../src/link/redaction";
import { explainError, explainStatus, type Who } from "../src/upstream/explain";
import { canary } from "./kit/secrets";

const SECRET = canary(52);
let secrets: readonly string[];
const { clean } = new Redaction(() => secrets);
const who: Who = {
  label: "Box",
  provider: undefined,
  baseUrl: "https://box.example/v1",
  hasKey: true,
  model: `${"y".repeat(480)}${SECRET}`,
  clean,
};

describe("what an upstream said, in a sentence", () => {
  beforeEach(() => {
    secrets = [SECRET];
  });

  it("[E13] is cleaned before it is cut, wherever the secret stands", () => {
    for (let before = 430; before <= 505; before += 1) {
      const error = { message: `${"y".repeat(before)}${SECRET} is wrong` };
      const said = [explainStatus(401, JSON.stringify({ error }), who), explainError({ error }, who)];
      for (const failure of said) {
        expect(failure?.message).not.toContain(SECRET.slice(0, 1));
        expect(failure?.message).toContain(`said: ${"y".repeat(Math.min(before, 500))}`);
      }
    }
  });

  it("[E13] is cleaned in a list of details, and in the name of a model", () => {
    const detail = [{ msg: `${"y".repeat(470)}${SECRET}`, [SECRET]: 1 }];
    expect(explainStatus(422, JSON.stringify({ detail }), who).message).not.toContain(SECRET.slice(0, 6));
    const unknown = explainStatus(400, '{"error":{"code":"model_not_found"}}', who);
    expect(unknown.message).toMatch(/y{480}\[redacted\]\. Choose/);
  });

  it("has no half of a character", () => {
    const { message } = explainStatus(500, JSON.stringify({ error: `y${"🙂".repeat(500)}` }), who);
    expect(message.match(/🙂/gu)).toHaveLength(249);
    expect(message).not.toMatch(/\p{Surrogate}/u);
  });
});
