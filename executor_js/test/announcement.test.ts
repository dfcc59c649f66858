import { describe, expect, it } from "vitest";
import { announceable } from "../src/hosts/announcement";
import { byteLength } from "../src/limits";
import type { Connection, Model } from "../src/protocol.gen";

const model = (id: string, more: Partial<Model> = {}): Model => ({
  id,
  name: null,
  context_length: null,
  input: null,
  output: null,
  ...more,
});

const connection = (models: Model[], more: Partial<Connection> = {}): Connection => ({
  id: "c",
  provider: "custom",
  label: "Box",
  models,
  error: null,
  first_line_timeout: null,
  idle_timeout: null,
  ...more,
});

/** Nothing is secret here. */
const asIs = <T>(value: T): T => value;

const many = (count: number, more: Partial<Model> = {}): Model[] =>
  Array.from({ length: count }, (_, at) => model(`model-${at}`, more));

const counts = (connections: Connection[]): number[] => connections.map(({ models }) => models.length);

describe("an announcement", () => {
  it("[E1] is as it was if it fits", () => {
    const given = [
      connection(many(20, { name: "M", context_length: 8192, input: 0.25, output: 1.5 })),
      connection([], { error: { code: "upstream_unreachable", message: "no", retryable: true } }),
    ];
    expect(announceable(given, asIs)).toEqual(given);
  });

  it("[E1] has at most 5,000 models in all its connections, the first ones", () => {
    expect(counts(announceable([connection(many(6000)), connection(many(9))], asIs))).toEqual([5000, 0]);
    expect(counts(announceable([connection(many(3000)), connection(many(3000))], asIs))).toEqual([
      3000, 2000,
    ]);
    expect(
      announceable(
        Array.from({ length: 101 }, () => connection(many(60))),
        asIs,
      ),
    ).toHaveLength(100);
  });

  it("[E1] is never larger than 1 MiB, however long the names are and whatever they are written in", () => {
    for (const name of [
      "x".repeat(300),
      "語".repeat(300),
      "🙂".repeat(150),
      '"'.repeat(300),
      "\n".repeat(300),
    ]) {
      const made = announceable(
        Array.from({ length: 100 }, () => connection(many(60, { name }), { label: name })),
        asIs,
      );
      expect(byteLength(JSON.stringify(made))).toBeLessThanOrEqual(1_000_000);
      expect(counts(made)[0]).toBe(60);
    }
  });

  it("[E1] leaves out what cannot be named, and cuts what is only shown", () => {
    const long = connection(
      [model("x".repeat(301)), model(""), model("x".repeat(300), { name: `${"y".repeat(299)}🙂` })],
      {
        provider: "p".repeat(99),
        label: "l".repeat(999),
        error: { code: "c".repeat(999), message: "m".repeat(9999), retryable: false },
      },
    );
    const [made] = announceable([long], asIs);
    expect(made?.models).toEqual([model("x".repeat(300), { name: "y".repeat(299) })]);
    expect([made?.provider.length, made?.label.length]).toEqual([60, 200]);
    expect([made?.error?.code.length, made?.error?.message.length]).toEqual([100, 2000]);
  });

  it("[E1] has no number that the server would refuse", () => {
    const odd = [-1, 0.5, 1e300, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53];
    const models = odd.map((value, at) =>
      model(`m${at}`, { context_length: value, input: value, output: value }),
    );
    const made = announceable([connection(models)], asIs)[0]?.models;
    expect(made?.map(({ context_length }) => context_length)).toEqual(odd.map(() => null));
    expect(made?.map(({ input }) => input)).toEqual([-1, 0.5, null, null, null, null]);
  });
});
