import assert from "node:assert/strict";
import { after, type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { DeviceClass, DeviceSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { Metrics } from "#platform/metrics.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { ManualClock } from "../../../test/clock/manual-clock.ts";
import { refused } from "../auth.suite.ts";
import { openDatabase } from "../database.ts";
import { hashOf, makeQrLogin } from "./qr-codes.ts";
import { createQrRows } from "./qr-rows.ts";
import { createQrWatches } from "./qr-watches.ts";

const { pool } = await startTestPostgres({ after });
const device = create(DeviceSchema, { deviceId: "desk", deviceClass: DeviceClass.DESKTOP });

/** Watches on the real table. A test can count polls, await them, and make them fail. */
function start(t: TestContext, count: number) {
  const clock = new ManualClock();
  const database = openDatabase(pool);
  t.after(() => database.$disconnect());
  const rows = createQrRows({ database, clock });
  const expiresAtMs = clock.now() + 120_000;
  const made = Promise.all(
    Array.from({ length: count }, async () => {
      const { qrLoginId, secret } = makeQrLogin();
      const [hash, secretHash] = [hashOf(qrLoginId), hashOf(secret)];
      await rows.create({ hash, secretHash, device, coarseAddress: "", expiresAtMs });
      return hash;
    }),
  );
  const polls: Promise<number>[] = [];
  const outage = { active: false };
  const watches = createQrWatches({
    config: { qrWatchMs: 500, maxQrWatches: count },
    rows: {
      statesOf(hashes) {
        const states = outage.active
          ? Promise.reject(fail(ErrorReason.UNAVAILABLE, "the database is unreachable"))
          : rows.statesOf(hashes);
        polls.push(states.then(() => hashes.length).catch(() => -1));
        return states;
      },
    },
    clock,
    log: quiet,
    metrics: new Metrics(),
  });
  return { clock, expiresAtMs, polls, outage, watches, made };
}

test("a poll is one query for all watches, and wakes only those with a changed state", async (t) => {
  const { clock, expiresAtMs, polls, watches, made } = start(t, 1_000);
  const hashes = await made;
  const { signal } = new AbortController();
  const woken: number[] = [];
  const opened = hashes.map((hash) => watches.open(hash, signal));
  const changes = opened.map((watch, i) =>
    watch.waitForChange({ state: "waiting", expiresAtMs }).then(() => woken.push(i)),
  );
  await pool.query("DELETE FROM auth.qr_login WHERE qr_login_hash = $1", [hashes[7]]);
  clock.advance(500);
  assert.deepEqual(await Promise.all(polls), [1_000]);
  await changes[7];
  assert.deepEqual(woken, [7]);
  for (const watch of opened) watch.close();
  clock.advance(5_000);
  assert.equal(polls.length, 1);
  assert.equal(clock.waiting, 0);
});

test("while the database is unreachable watches stay open; an expired one is woken", async (t) => {
  const { clock, expiresAtMs, polls, outage, watches, made } = start(t, 1);
  const [hash] = await made;
  const watch = watches.open(hash!, new AbortController().signal);
  let woken = false;
  const change = watch.waitForChange({ state: "waiting", expiresAtMs }).then(() => {
    woken = true;
  });
  outage.active = true;
  clock.advance(500);
  assert.deepEqual(await Promise.all(polls), [-1]);
  assert.equal(woken, false);
  clock.advance(119_500);
  await change;
  assert.equal(woken, true);
});

test("a watch ends with its signal, and releases its slot", async (t) => {
  const { expiresAtMs, watches, made } = start(t, 1);
  const [hash] = await made;
  const controller = new AbortController();
  const watch = watches.open(hash!, controller.signal);
  const change = watch.waitForChange({ state: "waiting", expiresAtMs });
  const another = () => watches.open(hashOf("another"), new AbortController().signal);
  assert.throws(another, /too many watches/);
  controller.abort(fail(ErrorReason.UNAVAILABLE, "the service stops"));
  await refused(change, ErrorReason.UNAVAILABLE);
  another().close();
});
