import { storeSuite } from "./store.suite.ts";
import { MemoryStore } from "./store.ts";

const stores = new Map<string, MemoryStore>();

storeSuite("MemoryStore", async (name) => {
  const store = stores.get(name) ?? new MemoryStore();
  stores.set(name, store);
  return store;
});
