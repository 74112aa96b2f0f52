import assert from "node:assert/strict";
import { test } from "node:test";
import { IndexedDbStore } from "./indexed-db-store.ts";
import { storeSuite } from "./store.suite.ts";

const run = crypto.randomUUID();
const open = new Map<string, IndexedDbStore>();

/** Closes the store of the name and opens it again, as a page does that is reloaded. */
async function reopen(name: string): Promise<IndexedDbStore> {
  await open.get(name)?.close();
  const store = new IndexedDbStore(`${name} ${run}`);
  open.set(name, store);
  return store;
}

storeSuite("IndexedDbStore", reopen);

test("IndexedDbStore: a refused database is reported, and throws only at load", async () => {
  // A newer version of the database exists.
  const name = `newer ${run}`;
  await new Promise((resolve) => {
    indexedDB.open(name, 99).onsuccess = resolve;
  });
  const failures: unknown[] = [];
  const store = new IndexedDbStore(name, { failed: (error) => failures.push(error) });
  store.saveCursor("a", true);
  await store.flush();
  assert.equal(failures.length, 1);
  await assert.rejects(store.load());
});

test("IndexedDbStore: the state that an earlier version stored is loaded, without ranges", async () => {
  const name = `earlier ${run}`;
  await new Promise<void>((resolve) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      for (const store of ["state", "positions", "sends"]) request.result.createObjectStore(store);
    };
    request.onsuccess = () => {
      const transaction = request.result.transaction(["positions"], "readwrite");
      transaction.objectStore("positions").put({ sequence: 4n, epoch: 1n }, "11");
      transaction.oncomplete = () => {
        request.result.close();
        resolve();
      };
    };
  });
  const store = new IndexedDbStore(name);
  const { positions, ranges } = await store.load();
  assert.deepEqual(positions.get("11"), { sequence: 4n, epoch: 1n });
  assert.equal(ranges.size, 0);
  store.saveRanges("11", { at: 4n, ranges: [{ low: 1n, high: 4n, exactTo: 4n }] });
  assert.equal((await store.load()).ranges.size, 1);
});
