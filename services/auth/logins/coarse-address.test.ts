import assert from "node:assert/strict";
import { test } from "node:test";
import { coarseAddress } from "./coarse-address.ts";

for (const [address, network] of [
  ["203.0.113.77", "203.0.113.0/24"],
  ["::ffff:203.0.113.77", "203.0.113.0/24"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"],
  ["2001:db8::1", "2001:db8:0::/48"],
  ["fe80::1%eth0", "fe80:0:0::/48"],
  ["::1", "0:0:0::/48"],
  ["local", ""],
  [undefined, ""],
] as const) {
  test(`${address} is shortened to "${network}"`, () => {
    assert.equal(coarseAddress(address), network);
  });
}
