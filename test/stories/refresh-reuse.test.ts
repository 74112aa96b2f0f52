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
/** Longer than the grace period of 10 s within which a used token may be retried. */
const BEYOND_GRACE_MS = 11_000;

async function refresh({ refreshToken }: Tokens): Promise<Tokens> {
  return (await clientOf(world.url, AuthService).refresh({ refreshToken })).tokens!;
}
async function refused(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
}

/** Number of the user's logins that are not revoked and have an unused refresh token. */
async function countLiveFamilies(userId: string): Promise<number> {
  const sql = `SELECT count(*)::int AS live FROM auth.login JOIN auth.refresh_token USING (login_id)
    WHERE user_id = $1 AND revoked_at IS NULL AND used_at IS NULL`;
  return (await world.pool.query(sql, [userId])).rows[0].live;
}

test("a device whose answer of Refresh was lost keeps its login by a retry", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const first = await ana!.login({ deviceId: "phone" });
  await refresh(first); // Its answer is lost.
  const second = await refresh(first);
  assert.equal(await countLiveFamilies(ana!.userId), 1);
  const phone = await RawDevice.hello(world.url, second.accessToken);
  t.after(() => phone.close());
  await refresh(second);
  await phone.roundTrip();
});

test("two concurrent uses of a refresh token leave one live successor", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  for (let round = 0; round < 5; round++) {
    const tokens = await ana!.login({ deviceId: "phone" });
    await Promise.all([refresh(tokens), refresh(tokens)]);
    assert.equal(await countLiveFamilies(ana!.userId), 1);
  }
});

test("a thief who refreshes within the grace period is logged out with the owner's next refresh", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const laptop = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const stolen = await ana!.login({ deviceId: "phone" });
  const owners = await refresh(stolen);
  const thiefs = await refresh(stolen);
  const thief = await RawDevice.hello(world.url, thiefs.accessToken);
  await refused(refresh(owners));
  assert.equal((await thief.closed).code, CloseCode.TOKEN_REVOKED);
  await refused(refresh(thiefs));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
});

test("reuse of a refresh token after its grace period ends the login and notifies the other devices", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const stolen = await ana!.login({ deviceId: "phone" });
  const laptop = await RawDevice.hello(world.url, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const next = await refresh(stolen);
  const phone = await RawDevice.hello(world.url, next.accessToken);
  await world.clock.advance(BEYOND_GRACE_MS);
  await refused(refresh(stolen));
  assert.equal((await phone.closed).code, CloseCode.TOKEN_REVOKED);
  await refused(refresh(next));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
  assert.equal(notice.deviceId, "phone");
  await laptop.roundTrip();
});

test("reuse within the grace period counts as theft once the successor was used", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const laptop = await RawDevice.hello(world.connects.at(-1)!, (await ana!.login()).accessToken);
  t.after(() => laptop.close());
  const first = await ana!.login({ deviceId: "phone" });
  const second = await refresh(first);
  const third = await refresh(second);
  await refused(refresh(first));
  await refused(refresh(third));
  const notice = await laptop.next("securityNotice");
  assert.equal(notice.kind, SecurityNoticeKind.REFRESH_TOKEN_REUSED);
});

test("a race between thief and owner never leaves two live token families", {
  timeout: TIMEOUT,
}, async () => {
  const rounds = 5;
  const [ana] = await people(world, "ana");
  const families: { stolen: Tokens; kept: Tokens }[] = [];
  for (let round = 0; round < rounds; round++) {
    const stolen = await ana!.login({ deviceId: `phone-${round}` });
    families.push({ stolen, kept: await refresh(stolen) });
  }
  await world.clock.advance(BEYOND_GRACE_MS);
  for (const { stolen, kept } of families) {
    const before = await countLiveFamilies(ana!.userId);
    // Each player refreshes with the token that it got last, until a refresh fails.
    const play = async (tokens: Tokens) => {
      let mine = tokens;
      for (let step = 0; step < 4; step++) mine = await refresh(mine);
      return mine;
    };
    const ends = await Promise.allSettled([play(stolen), play(kept), play(kept)]);
    // The stolen token was reused after its grace period, so the login has ended for both.
    assert.equal(await countLiveFamilies(ana!.userId), before - 1);
    for (const end of ends) if (end.status === "fulfilled") await refused(refresh(end.value));
  }
});
