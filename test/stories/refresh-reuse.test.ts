import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { after, type TestContext, test } from "node:test";
import { AuthService, DeviceClass, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  CloseCode,
  type SecurityNotice,
  SecurityNoticeKind,
} from "#gen/lucky/frame/v1/frame_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { LuckyClient } from "../../client/client.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld(
  { after },
  // Shorter than the time after which a silent session ends.
  { settings: { LUCKY_AUTH_REFRESH_GRACE_MS: "10000" } },
);
/** Longer than the grace period of this world, 10 s, within which a used token may be retried. */
const BEYOND_GRACE_MS = 11_000;

async function refresh({ refreshToken }: Tokens): Promise<Tokens> {
  return (await clientOf(world.url, AuthService).refresh({ refreshToken })).tokens!;
}
async function refused(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (e) => reasonOf(e) === ErrorReason.REFRESH_TOKEN_INVALID);
}

const isReuse = ({ kind }: SecurityNotice) => kind === SecurityNoticeKind.REFRESH_TOKEN_REUSED;

/** Starts a proxy to the world that breaks the connection of the first answer of Refresh. */
async function startLossyProxy(t: TestContext) {
  let refreshes = 0;
  const server = createServer(async (request, response) => {
    const { url: path, method, headers } = request;
    const answer = await fetch(`${world.url}${path}`, {
      method: method!,
      headers: {
        "content-type": headers["content-type"]!,
        authorization: headers.authorization ?? "",
      },
      body: await buffer(request),
    });
    const body = Buffer.from(await answer.arrayBuffer());
    if (path!.endsWith("/Refresh") && ++refreshes === 1) return request.socket.destroy();
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type")! });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, refreshes: () => refreshes };
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
  await laptop.next("securityNotice", isReuse);
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
  const notice = await laptop.next("securityNotice", isReuse);
  assert.equal(notice.deviceId, "phone");
  assert.equal(notice.coarseAddress, "127.0.0.0/24");
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
  await laptop.next("securityNotice", isReuse);
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

test("the client keeps its login when the connection breaks before the answer of Refresh", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana] = await people(world, "ana");
  const proxy = await startLossyProxy(t);
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  const client = new LuckyClient({ url: proxy.url, device, clock: world.clock });
  const tokens = await ana!.login(device);
  client.resume(tokens);
  await world.clock.advance(Number(tokens.accessTokenExpiresAtMs) - world.clock.now());
  await client.users.getMyProfile({});
  assert.equal(proxy.refreshes(), 2);
  assert.equal(await countLiveFamilies(ana!.userId), 1);
  await refresh(client.tokens!);
});
