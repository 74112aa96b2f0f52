import assert from "node:assert/strict";
import { test } from "node:test";
import { upgradeFault } from "./websocket-upgrade.ts";

const VALID = {
  host: ["x"],
  upgrade: ["websocket"],
  "sec-websocket-key": ["dGhlIHNhbXBsZSBub25jZQ=="],
  "sec-websocket-version": ["13"],
};
const KEY = VALID["sec-websocket-key"][0]!;

test("the headers of a request for a WebSocket are accepted", () => {
  assert.equal(upgradeFault(VALID), undefined);
  const more = {
    upgrade: ["WebSocket"],
    origin: ["https://x"],
    authorization: ["Bearer t"],
    "content-length": ["0"],
    "sec-websocket-protocol": ["other", "lucky.v1"],
    "x-forwarded-for": ["10.0.0.1", "10.0.0.2"],
  };
  assert.equal(upgradeFault({ ...VALID, ...more }), undefined);
});

for (const [title, headers, text] of [
  ["no key", { "sec-websocket-key": undefined }, /exactly one Sec-WebSocket-Key/],
  ["two keys", { "sec-websocket-key": [KEY, "AAAAAAAAAAAAAAAAAAAAAA=="] }, /exactly one/],
  ["the same key twice", { "sec-websocket-key": [KEY, KEY] }, /exactly one/],
  ["two keys in one header", { "sec-websocket-key": [`${KEY}, ${KEY}`] }, /16 bytes/],
  ["a key of 15 bytes", { "sec-websocket-key": ["AAAAAAAAAAAAAAAAAAAA"] }, /16 bytes/],
  ["a key of 17 bytes", { "sec-websocket-key": ["AAAAAAAAAAAAAAAAAAAAAAA="] }, /16 bytes/],
  ["a key in base64url", { "sec-websocket-key": ["-_AAAAAAAAAAAAAAAAAAAA=="] }, /16 bytes/],
  ["an empty key", { "sec-websocket-key": [""] }, /16 bytes/],
  ["no Host", { host: undefined }, /exactly one Host/],
  ["two Hosts", { host: ["x", "y"] }, /exactly one Host/],
  ["no Upgrade", { upgrade: undefined }, /exactly one Upgrade/],
  ["two Upgrades", { upgrade: ["websocket", "websocket"] }, /exactly one Upgrade/],
  ["another Upgrade", { upgrade: ["h2c"] }, /"websocket"/],
  ["no version", { "sec-websocket-version": undefined }, /exactly one Sec-WebSocket-Version/],
  ["two versions", { "sec-websocket-version": ["13", "13"] }, /exactly one/],
  ["another version", { "sec-websocket-version": ["8"] }, /"13"/],
  ["two Origins", { origin: ["https://x", "https://y"] }, /at most one Origin/],
  ["two Authorizations", { authorization: ["Bearer a", "Bearer b"] }, /at most one Authorization/],
  ["a body", { "content-length": ["5"] }, /no body/],
  ["a body of no clear length", { "content-length": ["0", "5"] }, /no body/],
  ["a chunked body", { "transfer-encoding": ["chunked"] }, /no body/],
] as const) {
  test(`an upgrade with ${title} is faulty`, () => {
    assert.match(upgradeFault({ ...VALID, ...headers }) ?? "", text);
  });
}
