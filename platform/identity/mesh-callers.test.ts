import assert from "node:assert/strict";
import { test } from "node:test";
import { meshCallers } from "./mesh-callers.ts";

const [gateway, connect, next] = ["g", "c", "n"].map((letter) => letter.repeat(32)) as [
  string,
  string,
  string,
];

test("a secret identifies its service", () => {
  const callers = meshCallers({ gateway: [gateway], connect: [connect] });
  assert.equal(callers.identify(gateway), "gateway");
  assert.equal(callers.identify(connect), "connect");
});

test("during a rotation both secrets of a service identify it", () => {
  const callers = meshCallers({ gateway: [gateway, next] });
  assert.equal(callers.identify(gateway), "gateway");
  assert.equal(callers.identify(next), "gateway");
});

test("any other text identifies no service", () => {
  const callers = meshCallers({ gateway: [gateway], server: [] });
  for (const text of ["", " ", gateway.slice(1), `${gateway}g`, `${gateway},${next}`, connect]) {
    assert.equal(callers.identify(text), undefined, text);
  }
  assert.equal(meshCallers({}).identify(""), undefined);
});
