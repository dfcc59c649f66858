/** The tables in which a vault keeps its rows, in IndexedDB or in memory. */

export type Table = "meta" | "connections" | "keys";

const TABLES: readonly Table[] = ["meta", "connections", "keys"];

export interface VaultStore {
  all(table: Table): Promise<ReadonlyMap<string, unknown>>;
  /**
   * Returns the row, and stores `value` as the row if there is none. Two workers that start together get the same
   * row.
   */
  ensure(table: Table, id: string, value: unknown): Promise<unknown>;
  put(table: Table, id: string, value: unknown): Promise<void>;
  remove(table: Table, id: string): Promise<void>;
}

export function memoryStore(): VaultStore {
  const tables = new Map(TABLES.map((table) => [table, new Map<string, unknown>()]));
  const rows = (table: Table) => tables.get(table) ?? new Map<string, unknown>();
  return {
    all: async (table) => new Map(rows(table)),
    async ensure(table, id, value) {
      if (!rows(table).has(id)) rows(table).set(id, value);
      return rows(table).get(id);
    },
    async put(table, id, value) {
      rows(table).set(id, value);
    },
    async remove(table, id) {
      rows(table).delete(id);
    },
  };
}

export async function indexedDbStore(name: string): Promise<VaultStore> {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => {
    for (const table of TABLES) opening.result.createObjectStore(table);
  };
  const database = await result(opening);
  const table = (name: Table, mode: IDBTransactionMode) => database.transaction(name, mode).objectStore(name);
  return {
    async all(name) {
      const rows = table(name, "readonly");
      const [ids, values] = await Promise.all([result(rows.getAllKeys()), result(rows.getAll())]);
      return new Map(ids.map((id, index) => [String(id), values[index]]));
    },
    async ensure(name, id, value) {
      const rows = table(name, "readwrite");
      const found: unknown = await result(rows.get(id));
      if (found !== undefined) return found;
      await result(rows.put(value, id));
      return value;
    },
    async put(name, id, value) {
      await result(table(name, "readwrite").put(value, id));
    },
    async remove(name, id) {
      await result(table(name, "readwrite").delete(id));
    },
  };
}

const result = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
