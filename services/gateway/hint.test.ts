import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { createHints } from "./hint.ts";

function setUp(secret = "a secret of the mesh") {
  const clock = new ManualClock();
  return { clock, hints: createHints({ secret, lifetimeMs: () => 60_000, clock }) };
}

test("a hint names its instance until it expires", () => {
  const { clock, hints } = setUp();
  const hint = hints.seal("connect-1");
  clock.advance(60_000);
  assert.equal(hints.open(hint), "connect-1");
  clock.advance(1);
  assert.equal(hints.open(hint), undefined);
});

test("a gateway decrypts a hint only with the secret that encrypted it", () => {
  const hint = setUp().hints.seal("connect-1");
  assert.equal(setUp().hints.open(hint), "connect-1");
  assert.equal(setUp("another secret").hints.open(hint), undefined);
});

test("a hint is URL-safe, opaque, and never the same twice", () => {
  const { hints } = setUp();
  const hint = hints.seal("connect-1");
  assert.match(hint, /^[A-Za-z0-9_-]+$/);
  assert.ok(!Buffer.from(hint, "base64url").includes("connect-1"));
  assert.notEqual(hint, hints.seal("connect-1"));
});

test("a modified hint and a text that is not a hint name no instance", () => {
  const { hints } = setUp();
  const bytes = Buffer.from(hints.seal("connect-1"), "base64url");
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed[at]! ^= 1;
    assert.equal(hints.open(changed.toString("base64url")), undefined, `byte ${at}`);
  }
  for (const text of ["", "x", "connect-1", "A".repeat(48), "A".repeat(100_000)]) {
    assert.equal(hints.open(text), undefined);
  }
});
