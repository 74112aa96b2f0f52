import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultsOf } from "#platform/config/config.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { gatewayConfig } from "./config.ts";
import { trustedProxiesOf } from "./trusted-proxies.ts";

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

test("proxies are trusted by their networks or by their number, and only networks send the PROXY protocol", () => {
  const defaults = defaultsOf(gatewayConfig);
  const networks = ["10.0.0.0/8"];
  const trusted = (settings: Partial<typeof defaults>) =>
    trustedProxiesOf({ ...defaults, ...settings });
  assert.deepEqual(trusted({}), { networks: [], hops: 0, proxyProtocol: false });
  assert.deepEqual(trusted({ trustedProxies: networks, proxyProtocol: true }), {
    networks,
    hops: 0,
    proxyProtocol: true,
  });
  assert.equal(trusted({ trustedProxyHops: 2 }).hops, 2);
  const contradictions = [
    { trustedProxies: networks, trustedProxyHops: 1 },
    { proxyProtocol: true },
    { proxyProtocol: true, trustedProxyHops: 1 },
  ];
  for (const settings of contradictions) {
    assert.throws(() => trusted(settings), /LUCKY_GATEWAY_TRUSTED_PROXIES/);
  }
});
