import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
/** Longer than the ten seconds within which a used token may come again. */
const AFTER_GRACE_MS = 11_000;

async function refresh({ refreshToken }: Tokens): Promise<Tokens> {
  return (await clientOf(world.url, AuthService).refresh({ refreshToken })).tokens!;
}
async function refused(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
}

/** Logins of a user that can go on: not ended, with a refresh token that nobody used. */
async function liveFamilies(userId: string): Promise<number> {
  const sql = `SELECT count(*)::int AS live FROM auth.login JOIN auth.refresh_token USING (login_id)
    WHERE user_id = $1 AND revoked_at IS NULL AND used_at IS NULL`;
  return (await world.pool.query(sql, [userId])).rows[0].live;
}

test("two parallel uses of one refresh token end in one winner, who goes on", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  for (let round = 0; round < 5; round++) {
    const tokens = await ana!.login({ deviceId: "phone" });
    const uses = await Promise.allSettled([refresh(tokens), refresh(tokens)]);
    const won = uses.filter((use) => use.status === "fulfilled");
    assert.equal(won.length, 1);
    for (const use of uses)
      if (use.status === "rejected") await refused(Promise.reject(use.reason));
    assert.equal(await liveFamilies(ana!.userId), 1);
    await refresh(won[0]!.value);
  }
});

test("a used token that comes again after its grace ends the login, and the others are told", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const stolen = await ana!.login({ deviceId: "phone" });
  const laptop = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const next = await refresh(stolen);
  const phone = await RawDevice.hello(world.url, next.accessToken);
  await world.clock.advance(AFTER_GRACE_MS);
  await refused(refresh(stolen));
  assert.equal((await phone.closed).code, CloseCode.TOKEN_REVOKED);
  await refused(refresh(next));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
  assert.equal(notice.deviceId, "phone");
  await laptop.roundTrip();
});

test("within its grace a used token is theft too, once its successor was used", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const laptop = await RawDevice.hello(world.connects.at(-1)!, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const first = await ana!.login({ deviceId: "phone" });
  const second = await refresh(first);
  await refused(refresh(first));
  const third = await refresh(second);
  await refused(refresh(first));
  await refused(refresh(third));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
});

test("whatever thief and owner do at once, no two families live", {
  timeout: TIMEOUT,
}, async () => {
  const rounds = 5;
  const [ana] = await people(world, "ana");
  const families: { stolen: Tokens; kept: Tokens }[] = [];
  for (let round = 0; round < rounds; round++) {
    const stolen = await ana!.login({ deviceId: `phone-${round}` });
    families.push({ stolen, kept: await refresh(stolen) });
  }
  await world.clock.advance(AFTER_GRACE_MS);
  for (const { stolen, kept } of families) {
    const before = await liveFamilies(ana!.userId);
    // Each goes on with whatever it gets, as far as it gets.
    const play = async (tokens: Tokens) => {
      let mine = tokens;
      for (let step = 0; step < 4; step++) mine = await refresh(mine);
      return mine;
    };
    const ends = await Promise.allSettled([play(stolen), play(kept), play(kept)]);
    // The stolen one came after its grace: nobody has this login any more.
    assert.equal(await liveFamilies(ana!.userId), before - 1);
    for (const end of ends) if (end.status === "fulfilled") await refused(refresh(end.value));
  }
});
