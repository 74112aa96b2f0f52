import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "#platform/config/config.ts";
import { gatewayConfig } from "./config.ts";

function proxies(text: string): readonly string[] {
  const env = { LUCKY_GATEWAY_TRUSTED_PROXIES: text };
  return loadConfig({ gateway: gatewayConfig }, { env }).gateway.trustedProxies;
}

test("trusted proxies are networks and addresses; by default there are none", () => {
  const networks = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1", "::ffff:10.0.0.0/104"];
  assert.deepEqual(proxies(networks.join(", ")), networks);
  assert.deepEqual(proxies(""), []);
});

for (const text of [
  "true",
  "proxy.example",
  "10.0.0.0/33",
  "10.0.0.0/",
  "10.0.0.0/8/8",
  "10.0.0/8",
  "2001:db8::/129",
  "fe80::1%eth0/64",
  "10.0.0.0/8,",
  // Networks of all addresses: any client could forge its address.
  "0.0.0.0/0",
  "::/0",
]) {
  test(`the trusted proxies ${text} are a fault, reported with the name of the setting`, () => {
    assert.throws(() => proxies(text), /^ {2}LUCKY_GATEWAY_TRUSTED_PROXIES must be .*, not \[/m);
  });
}
