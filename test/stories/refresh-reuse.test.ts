import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, type Tokens } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { CloseCode, SecurityNoticeKind } from "../../gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "../../platform/errors.ts";
import { callers, people } from "../people.ts";
import { RawDevice } from "../raw.ts";
import { startWorld, type World } from "../world.ts";

const timeout = 120_000;
const world = await startWorld({ after });
/** Where a used refresh token is theft as soon as it comes again. */
const strict = await startWorld({ after }, { settings: { LUCKY_AUTH_REFRESH_GRACE_MS: "0" } });

async function refresh({ url }: World, { refreshToken }: Tokens): Promise<Tokens> {
  return (await callers(url, AuthService).refresh({ refreshToken })).tokens!;
}
async function refused(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
}

/** Logins of a user that can go on: not ended, with a refresh token that nobody used. */
async function liveFamilies({ pool }: World, userId: string): Promise<number> {
  const sql = `SELECT count(*)::int AS live FROM auth.login JOIN auth.refresh_token USING (login_id)
    WHERE user_id = $1 AND revoked_at IS NULL AND used_at IS NULL`;
  return (await pool.query(sql, [userId])).rows[0].live;
}

test("two parallel uses of one refresh token end in one winner, who goes on", {
  timeout,
}, async () => {
  const [ana] = await people(world, "ana");
  for (let round = 0; round < 5; round++) {
    const tokens = await ana!.login({ deviceId: "phone" });
    const uses = await Promise.allSettled([refresh(world, tokens), refresh(world, tokens)]);
    const won = uses.filter((use) => use.status === "fulfilled");
    assert.equal(won.length, 1);
    for (const use of uses)
      if (use.status === "rejected") await refused(Promise.reject(use.reason));
    assert.equal(await liveFamilies(world, ana!.userId), 1);
    await refresh(world, won[0]!.value);
  }
});

test("a used token that comes again after its grace ends the login, and the others are told", {
  timeout,
}, async (t) => {
  const [ana] = await people(strict, "ana");
  const stolen = await ana!.login({ deviceId: "phone" });
  const laptop = await RawDevice.hello(strict.url, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const next = await refresh(strict, stolen);
  const phone = await RawDevice.hello(strict.url, next.accessToken);
  // The stolen one came later than its use: that takes more than no time.
  await refused(refresh(strict, stolen));
  assert.equal((await phone.closed).code, CloseCode.TOKEN_REVOKED);
  await refused(refresh(strict, next));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
  assert.equal(notice.deviceId, "phone");
  await laptop.roundTrip();
});

test("within its grace a used token is theft too, once its successor was used", {
  timeout,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const laptop = await RawDevice.hello(world.connects.at(-1)!, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const first = await ana!.login({ deviceId: "phone" });
  const second = await refresh(world, first);
  await refused(refresh(world, first));
  const third = await refresh(world, second);
  await refused(refresh(world, first));
  await refused(refresh(world, third));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
});

test("whatever thief and owner do at once, no two families live", { timeout }, async () => {
  const [ana] = await people(strict, "ana");
  for (let round = 0; round < 5; round++) {
    const tokens = await ana!.login({ deviceId: "phone" });
    // Each goes on with whatever it gets, as far as it gets.
    const play = async () => {
      let mine = tokens;
      for (let step = 0; step < 4; step++) mine = await refresh(strict, mine);
      return mine;
    };
    const ends = await Promise.allSettled([play(), play(), play()]);
    const live = await liveFamilies(strict, ana!.userId);
    assert.ok(live <= 1, `${live} live`);
    const won = ends.flatMap((end) => (end.status === "fulfilled" ? [end.value] : []));
    assert.ok(won.length <= 1);
    if (live === 0) for (const tokens of won) await refused(refresh(strict, tokens));
  }
});
