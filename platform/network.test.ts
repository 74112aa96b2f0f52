import assert from "node:assert/strict";
import { test } from "node:test";
import { networkOf, siteOf } from "./network.ts";

for (const [address, network] of [
  ["203.0.113.77", "203.0.113.77"],
  ["::ffff:203.0.113.77", "203.0.113.77"],
  ["::ffff:cb00:714d", "203.0.113.77"],
  ["0000:0000:0000:0000:0000:ffff:cb00:714d", "203.0.113.77"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::ffff", "2001:db8:1:2::/64"],
  ["2001:0db8:0001:0002::1", "2001:db8:1:2::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["local", "local"],
] as const) {
  test(`${address} is counted as ${network}`, () => {
    assert.equal(networkOf(address), network);
  });
}

test("an IPv6 address is also counted by its /48 network", () => {
  assert.equal(siteOf("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
  assert.equal(siteOf("2001:db8::1"), "2001:db8:0::/48");
  for (const address of ["203.0.113.77", "::ffff:203.0.113.77", "local"])
    assert.equal(siteOf(address), undefined);
});
