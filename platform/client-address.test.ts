import assert from "node:assert/strict";
import { test } from "node:test";
import { proxyChain } from "./client-address.ts";

/** The proxies of all cases below: 10.0.0.0/8, one more address, and an IPv6 network. */
const PROXIES = ["10.0.0.0/8", "192.0.2.1", "2001:db8:aaaa::/48"];
const PROXY = "10.0.0.1";

interface Case {
  /** X-Forwarded-For: one line, several lines, or none. */
  readonly header?: string | string[];
  /** Peer of the connection; PROXY when absent. */
  readonly peer?: string;
  readonly client: string | undefined;
}

const cases: Readonly<Record<string, Case>> = {
  "without a header, the peer": { client: PROXY },
  IPv4: { header: "203.0.113.7", client: "203.0.113.7" },
  "IPv4 with a port": { header: "203.0.113.7:50123", client: "203.0.113.7" },
  IPv6: { header: "2001:db8::7", client: "2001:db8::7" },
  "IPv6 in brackets": { header: "[2001:db8::7]", client: "2001:db8::7" },
  "IPv6 with a port": { header: "[2001:db8::7]:50123", client: "2001:db8::7" },
  "IPv6 in another notation": { header: "2001:DB8:0:0::0007", client: "2001:db8::7" },
  "IPv6 with a zone": { header: "fe80::7%eth0", client: "fe80::7" },
  "IPv4 in the form of IPv6": { header: "::ffff:203.0.113.7", client: "203.0.113.7" },
  "IPv4 in the form of IPv6, hexadecimal": { header: "::ffff:cb00:7107", client: "203.0.113.7" },
  "IPv4 in the form of IPv6, with a port": {
    header: "[::ffff:203.0.113.7]:50123",
    client: "203.0.113.7",
  },
  spaces: { header: " \t203.0.113.7 , 10.2.3.4 ", client: "203.0.113.7" },
  "spaces absent": { header: "203.0.113.7,10.2.3.4", client: "203.0.113.7" },
  "several lines, in their order": {
    header: ["198.51.100.1, 203.0.113.7", "10.2.3.4"],
    client: "203.0.113.7",
  },

  "a forged address left of the client's": {
    header: "198.51.100.1, 203.0.113.7",
    client: "203.0.113.7",
  },
  "a forged proxy left of the client's": { header: "10.9.9.9, 203.0.113.7", client: "203.0.113.7" },
  "a forged text left of the client's": { header: "<b>, 203.0.113.7", client: "203.0.113.7" },
  "several proxies": {
    header: "198.51.100.1, 203.0.113.7, 192.0.2.1:443, 10.2.3.4",
    client: "203.0.113.7",
  },
  "an IPv6 proxy as peer": {
    peer: "2001:db8:aaaa::1",
    header: "203.0.113.7, [2001:db8:aaaa:1::2]:80",
    client: "203.0.113.7",
  },
  "a proxy as peer in the form of IPv6": {
    peer: "::ffff:10.0.0.1",
    header: "203.0.113.7",
    client: "203.0.113.7",
  },
  "a proxy in the header in the form of IPv6": {
    header: "203.0.113.7, ::ffff:10.2.3.4",
    client: "203.0.113.7",
  },
  "proxies only": { header: "10.2.2.2, 10.3.3.3", client: "10.2.2.2" },

  "a peer that is no proxy": {
    peer: "198.51.100.9",
    header: "203.0.113.7",
    client: "198.51.100.9",
  },
  "a neighbour of a proxy as peer": {
    peer: "192.0.2.2",
    header: "203.0.113.7",
    client: "192.0.2.2",
  },
  "an IPv6 peer that is no proxy": {
    peer: "2001:db8:aaab::1",
    header: "203.0.113.7",
    client: "2001:db8:aaab::1",
  },
  "a peer in the form of IPv6": { peer: "::ffff:198.51.100.9", client: "198.51.100.9" },
  "a connection that has closed": { peer: "", header: "203.0.113.7", client: undefined },

  "an empty header": { header: "", client: PROXY },
  "an empty last element": { header: "203.0.113.7, ", client: PROXY },
  "an empty element between": { header: "203.0.113.7,, 10.2.3.4", client: "10.2.3.4" },
  "a text": { header: "203.0.113.7, unknown", client: PROXY },
  "a text left of a proxy": { header: "203.0.113.7, _hidden, 10.2.3.4", client: "10.2.3.4" },
  "a host name": { header: "client.example", client: PROXY },
  quotes: { header: '"203.0.113.7"', client: PROXY },
  "RFC 7239": { header: "for=203.0.113.7", client: PROXY },
  "an address with a text after it": { header: "203.0.113.7 forged", client: PROXY },
  "an address without commas": { header: "198.51.100.1 203.0.113.7", client: PROXY },
  "IPv4 with a leading zero": { header: "203.0.113.007", client: PROXY },
  "IPv4 as a number": { header: "3405803783", client: PROXY },
  "IPv4 with three parts": { header: "203.0.113", client: PROXY },
  "IPv4 in brackets": { header: "[203.0.113.7]:80", client: PROXY },
  "IPv4 with a port that is a text": { header: "203.0.113.7:http", client: PROXY },
  "IPv6 with an open bracket": { header: "[2001:db8::7", client: PROXY },
  "IPv6 with a text after its bracket": { header: "[2001:db8::7]x", client: PROXY },
};

for (const [name, { header, peer = PROXY, client }] of Object.entries(cases)) {
  test(`${name}: ${peer} with ${JSON.stringify(header)} is ${client}`, () => {
    const find = proxyChain({ networks: PROXIES }).clientAddress;
    const socket = { remoteAddress: peer || undefined };
    assert.equal(find({ headers: { "x-forwarded-for": header }, socket }), client);
  });
}

test("without trusted proxies, the header never counts", () => {
  const find = proxyChain({}).clientAddress;
  const headers = { "x-forwarded-for": "203.0.113.7" };
  assert.equal(find({ headers, socket: { remoteAddress: PROXY } }), PROXY);
});

test("a header of many proxies ends the walk at the 32nd", () => {
  const find = proxyChain({ networks: PROXIES }).clientAddress;
  const forged = Array.from({ length: 1_000 }, (_, at) => `10.1.${at >> 8}.${at & 255}`);
  const headers = { "x-forwarded-for": forged.join(",") };
  assert.equal(find({ headers, socket: { remoteAddress: PROXY } }), forged.at(-32));
});

const byHops: [hops: number, header: string | undefined, client: string][] = [
  [1, "203.0.113.7", "203.0.113.7"],
  [1, "198.51.100.1, 203.0.113.7", "203.0.113.7"],
  [1, "10.2.3.4", "10.2.3.4"],
  [2, "198.51.100.1, 203.0.113.7, 192.0.2.77", "203.0.113.7"],
  [2, "198.51.100.1, [2001:db8::7]:50123, 192.0.2.77:443", "2001:db8::7"],
  [3, "203.0.113.7, 192.0.2.77", "203.0.113.7"],
  [2, "203.0.113.7, unknown", PROXY],
  [2, "unknown, 192.0.2.77", "192.0.2.77"],
  [1, undefined, PROXY],
  [0, "203.0.113.7", PROXY],
];
for (const [hops, header, client] of byHops) {
  test(`by ${hops} hops, the client of ${JSON.stringify(header)} is ${client}`, () => {
    const headers = { "x-forwarded-for": header };
    const request = { headers, socket: { remoteAddress: PROXY } };
    assert.equal(proxyChain({ hops }).clientAddress(request), client);
  });
}

test("a client is behind a proxy when a proxy sent its address", () => {
  const { behindProxy, isProxy } = proxyChain({ networks: PROXIES });
  const from = (remoteAddress: string, header: string | undefined) =>
    behindProxy({ headers: { "x-forwarded-for": header }, socket: { remoteAddress } });
  assert.equal(from(PROXY, "203.0.113.7"), "203.0.113.7");
  assert.equal(from(`::ffff:${PROXY}`, "203.0.113.7"), "203.0.113.7");
  assert.equal(from(PROXY, undefined), undefined);
  assert.equal(from("198.51.100.9", "203.0.113.7"), undefined);
  assert.equal(isProxy(`::ffff:${PROXY}`), true);
  assert.equal(isProxy("198.51.100.9"), false);
  assert.equal(proxyChain({ hops: 1 }).isProxy("198.51.100.9"), true);
  assert.equal(proxyChain({}).isProxy(PROXY), false);
});
