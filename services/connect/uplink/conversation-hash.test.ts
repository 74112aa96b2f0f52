import assert from "node:assert/strict";
import { test } from "node:test";
import { hashOf } from "./conversation-hash.ts";

test("both users of a pair get the same hash, and hashes are distributed evenly", () => {
  const used = new Map<number, number>();
  for (let user = 1n; user <= 400n; user += 1n) {
    const hash = hashOf("77", { kind: "user", id: user });
    assert.equal(hashOf(user.toString(), { kind: "user", id: 77n }), hash);
    used.set(hash % 4, (used.get(hash % 4) ?? 0) + 1);
  }
  for (const count of used.values()) assert.ok(count > 60, `${[...used]}`);

  // Accounts created in one millisecond have neighbouring ids. Almost no two pairs may share a
  // hash.
  const first = 250_000_000_000_000_000n;
  const hashes = new Set<number>();
  let pairs = 0;
  for (let a = first; a < first + 150n; a += 1n) {
    for (let b = first; b < a; b += 1n) {
      hashes.add(hashOf(a.toString(), { kind: "user", id: b }));
      pairs += 1;
    }
  }
  assert.ok(hashes.size > pairs - 5, `${hashes.size} of ${pairs}`);
});
