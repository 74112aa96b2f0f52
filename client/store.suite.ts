import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientStore } from "./store.ts";

const send = (clientMessageId: string, target = "c:7") => ({
  clientMessageId,
  target,
  request: new Uint8Array([1, 2, 3]),
});

/** The suite of every store. `reopen` opens the store of a name; the device has restarted in between. */
export function storeSuite(kind: string, reopen: (name: string) => Promise<ClientStore>): void {
  test(`${kind}: an empty store has no state`, async () => {
    const stored = await (await reopen("empty")).load();
    const nothing = { positions: new Map(), ranges: new Map(), sends: [] };
    assert.deepEqual(stored, { cursor: "", synced: false, ...nothing });
  });

  test(`${kind}: the state survives a restart`, async () => {
    const store = await reopen("state");
    store.saveCursor("first", false);
    store.saveCursor("second", true);
    store.savePosition("11", { sequence: 4n, epoch: 1n });
    store.savePosition("11", { sequence: 2n, epoch: 9_007_199_254_740_993n });
    store.savePosition("9007199254740993", { sequence: 1n, epoch: 1n });
    const { cursor, synced, positions, sends } = await (await reopen("state")).load();
    assert.deepEqual([cursor, synced, sends], ["second", true, []]);
    assert.equal(positions.size, 2);
    assert.deepEqual(positions.get("11"), { sequence: 2n, epoch: 9_007_199_254_740_993n });
    assert.deepEqual(positions.get("9007199254740993"), { sequence: 1n, epoch: 1n });
  });

  test(`${kind}: the ranges of a conversation survive a restart, and the last ones count`, async () => {
    const store = await reopen("ranges");
    const range = { low: 1n, high: 9_007_199_254_740_991n, exactTo: 9_007_199_254_740_991n };
    const older = { low: 3n, high: 4n, exactTo: 6n };
    store.saveRanges("11", { at: 4n, ranges: [range] });
    store.saveRanges("12", { at: 7n, ranges: [older, { low: 6n, high: 7n, exactTo: 7n }] });
    store.saveRanges("11", { at: 5n, ranges: [] });
    store.saveRanges("13", { at: 9_007_199_254_740_991n, ranges: [range] });
    const { ranges } = await (await reopen("ranges")).load();
    assert.equal(ranges.size, 3);
    assert.deepEqual(ranges.get("11"), { at: 5n, ranges: [] });
    assert.deepEqual(ranges.get("12")?.ranges[0], older);
    assert.deepEqual(ranges.get("13"), { at: range.high, ranges: [range] });
  });

  test(`${kind}: sends keep the order of their calls, over restarts`, async () => {
    const first = await reopen("sends");
    for (const key of ["z", "y", "x"]) first.putSend(send(key));
    first.removeSend("y", "c:7");
    first.removeSend("x", "c:8");
    first.removeSend("unknown", "c:7");
    const second = await reopen("sends");
    for (const one of [send("b"), send("a"), send("a", "u:1"), send("z")]) second.putSend(one);
    const { sends } = await (await reopen("sends")).load();
    assert.deepEqual(
      sends.map(({ target, clientMessageId }) => `${target} ${clientMessageId}`),
      ["c:7 z", "c:7 x", "c:7 b", "c:7 a", "u:1 a"],
    );
    assert.deepEqual(sends[0]?.request, new Uint8Array([1, 2, 3]));
  });

  test(`${kind}: writes are in the next load, in their order`, async () => {
    const store = await reopen("order");
    for (let sequence = 1n; sequence <= 200n; sequence++)
      store.savePosition("11", { sequence, epoch: 1n });
    assert.equal((await store.load()).positions.get("11")?.sequence, 200n);
    store.putSend(send("a"));
    store.removeSend("a", "c:7");
    assert.deepEqual((await store.load()).sends, []);
  });
}
