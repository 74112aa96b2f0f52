import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { startTestAuth } from "../auth.suite.ts";

const { url, pool } = await startTestPostgres({ after });

test("last-seen times move forward only, and not past now", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  const [phone, laptop] = [await one.login(userName, "phone"), await one.login(userName, "laptop")];
  const loginOf = async (token: string) => (await one.verifier.verify(token)).loginId;
  const [onPhone, onLaptop] = await Promise.all(
    [phone, laptop].map(({ accessToken }) => loginOf(accessToken)),
  );
  const shown = async () => {
    const { devices } = await one.devices.listDevices({}, one.as(phone));
    // Both began in the same millisecond, so their order is that of random ids.
    return Object.fromEntries(
      devices.map(({ device, lastSeenAtMs }) => [device!.deviceId, Number(lastSeenAtMs)]),
    );
  };
  const begunMs = one.clock.now();
  one.clock.advance(60_000);
  const seen = (loginId: string, ms: number) => ({ loginId, seenAtMs: BigInt(ms) });
  await one.sessions.recordLastSeen({
    seen: [
      seen(onLaptop!, begunMs + 40_000),
      seen(onLaptop!, begunMs + 50_000),
      seen(onPhone!, begunMs - 1),
    ],
  });
  assert.deepEqual(await shown(), { laptop: begunMs + 50_000, phone: begunMs });
  await one.sessions.recordLastSeen({ seen: [seen(onPhone!, begunMs + 3_600_000)] });
  assert.equal((await shown()).phone, begunMs + 60_000);
  await one.sessions.recordLastSeen({});
});

test("an ended or locked login is skipped without waiting for the lock", async (t) => {
  const one = await startTestAuth({ url, t });
  const { userName } = await one.register();
  const tokens = await Promise.all(["a", "b"].map((id) => one.login(userName, id)));
  const [ended, busy] = await Promise.all(
    tokens.map(async ({ accessToken }) => (await one.verifier.verify(accessToken)).loginId),
  );
  const begun = new Date(one.clock.now());
  await one.auth.logout({}, one.as(tokens[0]!));
  one.clock.advance(60_000);
  const seenAtMs = BigInt(one.clock.now());
  const holder = await pool.connect();
  try {
    await holder.query("BEGIN");
    await holder.query("SELECT FROM auth.login WHERE login_id = $1 FOR UPDATE", [busy]);
    const seen = [ended, busy].map((loginId) => ({ loginId: loginId!, seenAtMs }));
    await one.sessions.recordLastSeen({ seen });
  } finally {
    await holder.query("ROLLBACK");
    holder.release();
  }
  const sql = "SELECT DISTINCT last_seen_at FROM auth.login WHERE login_id = ANY($1)";
  assert.deepEqual((await pool.query(sql, [[ended, busy]])).rows, [{ last_seen_at: begun }]);
});
