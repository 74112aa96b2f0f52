import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { fail } from "#platform/errors.ts";
import { createLog } from "#platform/log.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serve } from "#platform/rpc/served.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { watchRevocations } from "./revocations.ts";

const log = createLog({ service: "test", instanceId: "test-0", level: "silent" });

/** An auth that ends logins when told to. */
function auth() {
  const ended: { loginId: string; expiresAtMs: bigint }[] = [];
  const cursors: bigint[] = [];
  const asked = new EventTarget();
  const keyIds = ["k1"];
  const pageTokens: string[] = [];
  let away = false;
  let pageSize = 1_000;
  const service = serve(SessionService, {
    listRevocations({ cursor, pageToken }) {
      cursors.push(cursor);
      pageTokens.push(pageToken);
      queueMicrotask(() => asked.dispatchEvent(new Event("asked")));
      if (away) throw fail(ErrorReason.UNAVAILABLE, "away");
      const from = Number(pageToken || cursor);
      const to = Math.min(from + pageSize, ended.length);
      const nextPageToken = to < ended.length ? String(to) : "";
      const revocations = ended.slice(from, to);
      return { revocations, nextCursor: BigInt(to), nextPageToken, accessKeyIds: [...keyIds] };
    },
    getDevicePolicy: () => ({}),
    recordLastSeen: () => ({}),
    checkUsers: () => ({}),
  });
  return {
    client: createClient(SessionService, localTransport([service], [])),
    cursors,
    pageTokens,
    keyIds,
    /** How many logins auth tells at once. */
    pagesOf: (size: number) => {
      pageSize = size;
    },
    end: (loginId: string, expiresAtMs: number) =>
      ended.push({ loginId, expiresAtMs: BigInt(expiresAtMs) }),
    leave: (is: boolean) => {
      away = is;
    },
    asked: () => once(asked, "asked"),
  };
}

/** Lets the clock ring the next question and waits until its answer was taken in. */
async function turn(clock: ManualClock, { asked }: ReturnType<typeof auth>): Promise<void> {
  const next = asked();
  clock.advance(500);
  await next;
  await rest(clock);
}

/** Waits until the watcher has set its next timer. */
async function rest(clock: ManualClock): Promise<void> {
  while (clock.waiting === 0) await new Promise(setImmediate);
}

test("an ended login is known after the next question, told once, and forgotten when harmless", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.end("before", clock.now() + 60_000);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  const told: string[] = [];
  revocations.onRevoked((loginId) => told.push(loginId));
  await revocations.loaded;
  assert.equal(revocations.revoked("before"), true);
  assert.equal(revocations.revoked("later"), false);
  await rest(clock);

  source.end("later", clock.now() + 10_000);
  await turn(clock, source);
  assert.equal(revocations.revoked("later"), true);
  await turn(clock, source);
  assert.deepEqual(told, ["before", "later"]);
  assert.deepEqual(source.cursors, [0n, 1n, 2n]);

  clock.advance(10_000);
  await rest(clock);
  await turn(clock, source);
  assert.equal(revocations.revoked("later"), false);
  assert.equal(revocations.revoked("before"), true);
});

test("while auth is away what is known stays, and it goes on afterwards", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.end("one", clock.now() + 60_000);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  await revocations.loaded;
  await rest(clock);
  source.leave(true);
  source.end("two", clock.now() + 60_000);
  await turn(clock, source);
  assert.equal(revocations.revoked("one"), true);
  assert.equal(revocations.revoked("two"), false);
  source.leave(false);
  await turn(clock, source);
  assert.equal(revocations.revoked("two"), true);
});

test("all pages are read before the cursor moves on; after a page that was lost they come again", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.pagesOf(2);
  const ids = ["a", "b", "c", "d", "e"];
  for (const id of ids) source.end(id, clock.now() + 60_000);
  source.leave(true);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  await rest(clock);
  source.leave(false);
  await turn(clock, source);
  await revocations.loaded;
  assert.ok(ids.every((id) => revocations.revoked(id)));
  await turn(clock, source);
  assert.deepEqual(source.pageTokens, ["", "", "2", "4", ""]);
  assert.deepEqual(source.cursors, [0n, 0n, 0n, 0n, 5n]);
});

test("a key that auth no longer names is withdrawn, for good; one that is new is not", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  await revocations.loaded;
  await rest(clock);
  assert.equal(revocations.keyState("k2"), "unknown");
  source.keyIds.splice(0, 1, "k2");
  await turn(clock, source);
  const states = () => ["k1", "k2"].map((keyId) => revocations.keyState(keyId));
  assert.deepEqual(states(), ["withdrawn", "published"]);
  // As an auth of before would answer, during an update.
  source.keyIds.splice(0);
  await turn(clock, source);
  assert.deepEqual(states(), ["withdrawn", "published"]);
  source.keyIds.push("k1", "k2");
  await turn(clock, source);
  assert.deepEqual(states(), ["withdrawn", "published"]);
});
