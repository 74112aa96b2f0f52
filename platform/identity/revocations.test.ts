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

/** A fake auth; the test ends its logins. */
function auth() {
  const ended: { loginId: string; expiresAtMs: bigint }[] = [];
  const cursors: bigint[] = [];
  const polls = new EventTarget();
  const keyIds = ["k1"];
  const pageTokens: string[] = [];
  let unavailable = false;
  let pageSize = 1_000;
  const service = serve(SessionService, {
    listRevocations({ cursor, pageToken }) {
      cursors.push(cursor);
      pageTokens.push(pageToken);
      queueMicrotask(() => polls.dispatchEvent(new Event("poll")));
      if (unavailable) throw fail(ErrorReason.UNAVAILABLE, "unavailable");
      const from = Number(pageToken || cursor);
      const to = Math.min(from + pageSize, ended.length);
      const nextPageToken = to < ended.length ? String(to) : "";
      const revocations = ended.slice(from, to);
      return { revocations, nextCursor: BigInt(to), nextPageToken, accessKeyIds: [...keyIds] };
    },
    getDevicePolicy: () => ({}),
    recordLastSeen: () => ({}),
    checkUsers: () => ({}),
    listAccountChanges: () => ({}),
    recordAudit: () => ({}),
  });
  return {
    client: createClient(SessionService, localTransport([service], [])),
    cursors,
    pageTokens,
    keyIds,
    /** Sets the number of logins in one page. */
    pagesOf: (size: number) => {
      pageSize = size;
    },
    end: (loginId: string, expiresAtMs: number) =>
      ended.push({ loginId, expiresAtMs: BigInt(expiresAtMs) }),
    setUnavailable: (is: boolean) => {
      unavailable = is;
    },
    polled: () => once(polls, "poll"),
  };
}

/** Advances the clock to the next poll and waits until its response is processed. */
async function nextPoll(clock: ManualClock, { polled }: ReturnType<typeof auth>): Promise<void> {
  const next = polled();
  clock.advance(500);
  await next;
  await untilIdle(clock);
}

/** Waits until the watcher has set its next timer. */
async function untilIdle(clock: ManualClock): Promise<void> {
  while (clock.waiting === 0) await new Promise(setImmediate);
}

test("an ended login is known after the next poll, notified once, and evicted when its tokens have expired", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.end("before", clock.now() + 600_000);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  const notified: string[] = [];
  revocations.onRevoked((loginId) => notified.push(loginId));
  await revocations.loaded;
  assert.equal(revocations.revoked("before"), true);
  assert.equal(revocations.revoked("later"), false);
  await untilIdle(clock);

  source.end("later", clock.now() + 100_000);
  await nextPoll(clock, source);
  assert.equal(revocations.revoked("later"), true);
  await nextPoll(clock, source);
  assert.deepEqual(notified, ["before", "later"]);
  assert.deepEqual(source.cursors, [0n, 1n, 2n]);

  clock.advance(100_000);
  await untilIdle(clock);
  await nextPoll(clock, source);
  assert.equal(revocations.revoked("later"), false);
  assert.equal(revocations.revoked("before"), true);
});

test("a step of the time of day, there and back, forgets no ended login, and reads the list again", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.end("before", clock.now() + 900_000);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  const notified: string[] = [];
  revocations.onRevoked((loginId) => notified.push(loginId));
  await revocations.loaded;
  await untilIdle(clock);
  clock.step(3_600_000);
  // Its tokens have expired by the wrong clock. Its sessions must end nevertheless.
  source.end("between", clock.now() - 2_700_000);
  await nextPoll(clock, source);
  clock.step(-3_600_000);
  await nextPoll(clock, source);
  await nextPoll(clock, source);
  assert.deepEqual(notified, ["before", "between"]);
  assert.ok(revocations.revoked("before") && revocations.revoked("between"));
  assert.deepEqual(source.cursors, [0n, 0n, 0n, 2n]);
});

test("while auth is unavailable the known revocations stay, and polling continues afterwards", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.end("one", clock.now() + 60_000);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  await revocations.loaded;
  await untilIdle(clock);
  source.setUnavailable(true);
  source.end("two", clock.now() + 60_000);
  await nextPoll(clock, source);
  assert.equal(revocations.revoked("one"), true);
  assert.equal(revocations.revoked("two"), false);
  source.setUnavailable(false);
  await nextPoll(clock, source);
  assert.equal(revocations.revoked("two"), true);
});

test("the cursor advances after all pages were read; a lost page is retried", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  source.pagesOf(2);
  const ids = ["a", "b", "c", "d", "e"];
  for (const id of ids) source.end(id, clock.now() + 60_000);
  source.setUnavailable(true);
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  await untilIdle(clock);
  source.setUnavailable(false);
  await nextPoll(clock, source);
  await revocations.loaded;
  assert.ok(ids.every((id) => revocations.revoked(id)));
  await nextPoll(clock, source);
  assert.deepEqual(source.pageTokens, ["", "", "2", "4", ""]);
  assert.deepEqual(source.cursors, [0n, 0n, 0n, 0n, 5n]);
});

test("a key that auth no longer publishes stays withdrawn; a new key does not", async (t) => {
  const clock = new ManualClock();
  const source = auth();
  const revocations = watchRevocations({ client: source.client, clock, intervalMs: 500, log });
  t.after(() => revocations.close());
  await revocations.loaded;
  await untilIdle(clock);
  assert.equal(revocations.keyState("k2"), "unknown");
  source.keyIds.splice(0, 1, "k2");
  await nextPoll(clock, source);
  const states = () => ["k1", "k2"].map((keyId) => revocations.keyState(keyId));
  assert.deepEqual(states(), ["withdrawn", "published"]);
  // The response of an older auth, during an update.
  source.keyIds.splice(0);
  await nextPoll(clock, source);
  assert.deepEqual(states(), ["withdrawn", "published"]);
  source.keyIds.push("k1", "k2");
  await nextPoll(clock, source);
  assert.deepEqual(states(), ["withdrawn", "published"]);
});
