import { IDBFactory } from "fake-indexeddb";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { ConnectionDraft } from "../src/client/contract";
import { aesSealer, makeWrappingKey, type Sealer } from "../src/vault/sealer";
import { indexedDbStore, memoryStore, type VaultStore } from "../src/vault/store";
import { Vault } from "../src/vault/vault";

const CANARY = "canary-key-that-must-not-leave";
const DRAFT: ConnectionDraft = {
  provider: "custom",
  label: "Box",
  baseUrl: "https://box.example/v1",
  key: CANARY,
};

async function sealerOf(store: VaultStore): Promise<Sealer> {
  return aesSealer((await store.ensure("meta", "wrapping-key", await makeWrappingKey())) as CryptoKey);
}

async function open(name = "keyside-vault-1"): Promise<Vault> {
  const store = await indexedDbStore(name);
  return Vault.open(store, await sealerOf(store), "Test browser");
}

describe("the vault", () => {
  beforeEach(() => {
    vi.stubGlobal("indexedDB", new IDBFactory());
  });

  it("makes the executor's identity once, and keeps it", async () => {
    const { identity } = await open();
    expect(identity.name).toBe("Test browser");
    expect(identity.secret.length).toBeGreaterThanOrEqual(16);
    expect((await open()).identity).toEqual(identity);
    const [one, other] = await Promise.all([open("keyside-vault-2"), open("keyside-vault-2")]);
    expect(one.identity).toEqual(other.identity);
  });

  it("[S2] keeps connections and keys, and belongs to one user", async () => {
    const saved = await (await open()).save(DRAFT);
    const again = await open();
    const record = again.find(saved.id);
    expect(record).toEqual(saved);
    expect(record && again.keyFor(record, record.baseUrl)).toBe(CANARY);
    expect((await open("keyside-vault-2")).connections).toEqual([]);
  });

  it("stores no key in plain, and its wrapping key cannot be read out", async () => {
    await (await open()).save(DRAFT);
    const store = await indexedDbStore("keyside-vault-1");
    const rows = (
      await Promise.all((["meta", "connections", "keys"] as const).map((table) => store.all(table)))
    ).map((table) => [...table.values()]);
    const bytes = rows.flat().flatMap(everyString).join("\n");
    expect(bytes).toContain("box.example");
    expect(bytes).not.toContain(CANARY);
    const wrapping = (await store.all("meta")).get("wrapping-key") as CryptoKey;
    expect(wrapping.extractable).toBe(false);
  });

  it("a ciphertext opens only for the base URL and the connection that it was made for", async () => {
    const store = await indexedDbStore("keyside-vault-1");
    const vault = await Vault.open(store, await sealerOf(store), "Test");
    const { id } = await vault.save(DRAFT);
    const row = (await store.all("keys")).get(id) as object;
    for (const baseUrl of ["https://evil.example/v1", "https://box.example", "https://box.example/v2"]) {
      await store.put("keys", id, { ...row, baseUrl });
      await vault.reload();
      expect(vault.secrets).toEqual([]);
    }
  });

  it("a key that an earlier version pinned to an origin stays usable, for the base URL of its connection", async () => {
    const store = await indexedDbStore("keyside-vault-1");
    const sealer = await sealerOf(store);
    const { id } = await (await Vault.open(store, sealer, "Test")).save(DRAFT);
    const origin = "https://box.example";
    const sealed = await sealer.seal(CANARY, `keyside key ${id} ${origin}`);
    await store.put("keys", id, { origin, sealed });
    const vault = await Vault.open(store, sealer, "Test");
    const record = vault.find(id);
    expect(record && vault.keyFor(record, DRAFT.baseUrl)).toBe(CANARY);
    expect(() => record && vault.keyFor(record, `${origin}/other`)).toThrow(refused("key_unavailable"));
    const { key: _, ...withoutKey } = DRAFT;
    expect(vault.preview({ ...withoutKey, id, baseUrl: `${origin}/other` }).key).toBeNull();
    const renamed = await vault.save({ ...withoutKey, id, label: "New" });
    await vault.reload();
    expect(vault.keyFor(renamed, DRAFT.baseUrl)).toBe(CANARY);
    expect(await store.all("keys")).toEqual(
      new Map([[id, expect.objectContaining({ baseUrl: DRAFT.baseUrl })]]),
    );
    await store.put("keys", id, { origin: "https://evil.example", sealed });
    await vault.reload();
    expect(vault.secrets).toEqual([]);
  });

  it("[S1] sends a key nowhere but to the base URL that it is pinned to", async () => {
    const vault = await open();
    const record = await vault.save(DRAFT);
    const { key: _, ...withoutKey } = DRAFT;
    for (const baseUrl of [
      "https://evil.example/v1",
      "http://box.example/v1",
      "https://box.example:8443/v1",
      "https://box.example",
      "https://box.example/echo",
      "https://box.example/v1/echo",
      "https://box.example/v1/../echo",
      "https://box.example/V1",
    ]) {
      expect(() => vault.keyFor(record, baseUrl)).toThrow(refused("key_unavailable"));
      expect(vault.preview({ ...withoutKey, id: record.id, baseUrl }).key).toBeNull();
    }
    for (const baseUrl of ["https://box.example/v1/", " HTTPS://BOX.example:443/v1?a=b#c "]) {
      expect(vault.preview({ ...withoutKey, id: record.id, baseUrl }).key).toBe(CANARY);
    }
  });

  it("drops the key when the address changes, the path included, and says so", async () => {
    const vault = await open();
    const { id } = await vault.save(DRAFT);
    const { key: _, ...withoutKey } = DRAFT;
    for (const baseUrl of ["https://box.example/other/v1", "https://elsewhere.example/v1"]) {
      await vault.save({ ...DRAFT, id });
      const moved = await vault.save({ ...withoutKey, id, baseUrl });
      expect(vault.hasKey(moved)).toBe(false);
      expect(vault.keyFailure(moved)).toMatchObject({ code: "key_unavailable" });
      expect(vault.secrets).toEqual([]);
      const entered = await vault.save({ ...DRAFT, id, baseUrl });
      expect(vault.keyFailure(entered)).toBeNull();
    }
  });

  it("keeps, replaces and removes a key as the draft says", async () => {
    const vault = await open();
    const { id } = await vault.save(DRAFT);
    const { key: _, ...withoutKey } = DRAFT;
    expect(vault.hasKey(await vault.save({ ...withoutKey, id, label: "New" }))).toBe(true);
    await vault.save({ ...DRAFT, id, key: "  another-canary-key  " });
    expect(vault.secrets).toEqual(["another-canary-key"]);
    const bare = await vault.save({ ...DRAFT, id, key: "" });
    expect(vault.hasKey(bare)).toBe(false);
    expect(vault.keyFor(bare, bare.baseUrl)).toBeNull();
  });

  it("refuses what cannot be a key, an address or a connection", async () => {
    const vault = await open();
    await expect(vault.save({ ...DRAFT, key: "sk 1\n2" })).rejects.toEqual(refused("bad_request"));
    await expect(vault.save({ ...DRAFT, baseUrl: "box.example" })).rejects.toEqual(refused("bad_request"));
    await expect(vault.save({ ...DRAFT, label: "x".repeat(201) })).rejects.toEqual(refused("bad_request"));
    await expect(vault.save({ ...DRAFT, provider: "x".repeat(61) })).rejects.toEqual(refused("bad_request"));
    await expect(vault.rename("x".repeat(201))).rejects.toEqual(refused("bad_request"));
    await expect(vault.save({ ...DRAFT, id: "unknown" })).rejects.toEqual(refused("connection_unknown"));
    expect(vault.connections).toEqual([]);
  });

  it("says which provider cannot do without a key", async () => {
    const vault = await open();
    const record = await vault.save({ provider: "openai", label: "", baseUrl: "https://api.openai.com/v1" });
    expect(record.label).toBe("OpenAI");
    expect(vault.keyFailure(record)).toMatchObject({ code: "key_unavailable" });
  });

  it("removes a connection with its key", async () => {
    const vault = await open();
    const { id } = await vault.save(DRAFT);
    await vault.remove(id);
    const again = await open();
    expect(again.connections).toEqual([]);
    expect(again.secrets).toEqual([]);
  });

  it("lists connections in the order in which they were made", async () => {
    const vault = await open();
    for (const label of ["c", "a", "b"]) await vault.save({ ...DRAFT, label });
    expect((await open()).connections.map((each) => each.label)).toEqual(["c", "a", "b"]);
  });

  it("without WebCrypto keeps keys in memory only, and says so after a restart", async () => {
    const store = await indexedDbStore("keyside-vault-1");
    const vault = await Vault.open(store, null, "Test");
    const record = await vault.save(DRAFT);
    expect(vault.kind).toBe("memory");
    expect(vault.keyFor(record, record.baseUrl)).toBe(CANARY);
    expect((await store.all("keys")).size).toBe(0);
    const again = await Vault.open(store, null, "Test");
    expect(again.connections).toHaveLength(1);
    expect(again.keyFailure(record)).toMatchObject({ code: "key_unavailable" });
  });

  it("works the same without IndexedDB", async () => {
    const vault = await Vault.open(memoryStore(), null, "Test");
    const record = await vault.save(DRAFT);
    await vault.rename("  Other  ");
    await vault.reload();
    expect(vault.identity.name).toBe("Other");
    expect(vault.find(record.id)).toEqual(record);
  });
});

const refused = (code: string) => expect.objectContaining({ failure: expect.objectContaining({ code }) });

function everyString(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (value instanceof ArrayBuffer) return [new TextDecoder().decode(value)];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(everyString);
}
