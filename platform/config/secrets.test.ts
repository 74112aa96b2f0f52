import assert from "node:assert/strict";
import { test } from "node:test";
import { acceptedSecrets, ownSecret, secretFaults, secretsOf } from "./secrets.ts";

const [c, g, s] = ["c", "g", "s"].map((letter) => [letter.repeat(32)]) as [
  string[],
  string[],
  string[],
];
const all = { connectSecret: c, gatewaySecret: g, serverSecret: s };

test("a process needs its own secret and those of its callers", () => {
  assert.deepEqual(secretsOf("gateway"), ["gatewaySecret"]);
  assert.deepEqual(secretsOf("connect"), ["connectSecret", "gatewaySecret"]);
  assert.deepEqual(secretsOf("server"), ["serverSecret", "connectSecret", "gatewaySecret"]);
  assert.deepEqual(secretsOf("auth"), ["connectSecret", "gatewaySecret", "serverSecret"]);
});

test("a process presents the first of its own secrets", () => {
  const rotating = { ...all, connectSecret: ["n".repeat(32), ...c] };
  assert.equal(ownSecret("connect", rotating), "n".repeat(32));
  assert.equal(ownSecret("auth", rotating), "");
});

test("a process accepts the secrets of its callers, not its own", () => {
  assert.deepEqual(acceptedSecrets("gateway", all), {});
  assert.deepEqual(acceptedSecrets("connect", all), { gateway: g });
  assert.deepEqual(acceptedSecrets("server", all), { connect: c, gateway: g });
  assert.deepEqual(acceptedSecrets("auth", all), { connect: c, gateway: g, server: s });
});

test("a secret that a process does not need is a fault", () => {
  assert.deepEqual(secretFaults("auth", all), []);
  assert.deepEqual(secretFaults("gateway", all), [
    "LUCKY_CONNECT_SECRET is not for gateway: remove it",
    "LUCKY_SERVER_SECRET is not for gateway: remove it",
  ]);
});

test("a secret that two services share is a fault, also while it rotates", () => {
  const shared = { ...all, gatewaySecret: [...g, ...c] };
  assert.deepEqual(secretFaults("auth", shared), [
    "LUCKY_CONNECT_SECRET and LUCKY_GATEWAY_SECRET must differ",
  ]);
  assert.deepEqual(secretFaults("auth", { ...all, gatewaySecret: [...g, "n".repeat(32)] }), []);
});
