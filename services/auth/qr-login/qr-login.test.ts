import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  DeviceClass,
  QrLoginState,
  type Tokens,
  type WatchQrLoginResponse,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { proofBy, refused, startTestAuth, type TestAuth } from "../auth.suite.ts";
import { openDatabase } from "../database.ts";
import { deleteExpiredQrLogins } from "./qr-cleanup.ts";

const { url, pool } = await startTestPostgres({ after });

const desktop = {
  deviceId: "desk",
  deviceClass: DeviceClass.DESKTOP,
  deviceName: "Ana's desk",
  clientVersion: "desk/1",
};

const request = async (one: TestAuth, device = desktop) => {
  const made = await one.auth.createQrLogin({ device });
  const { qrLoginId, secret } = made;
  return { ...made, requester: { qrLoginId, secret, deviceId: device.deviceId } };
};

/** Logs a phone in; `call` contains the headers of its calls. */
async function logInPhone(one: TestAuth, deviceId = "phone") {
  const { userName, userId } = await one.register();
  const tokens = await one.login(userName, deviceId);
  return { userName, userId, tokens, call: one.as(tokens), proof: proofBy(tokens) };
}

/** Reads the answers of a stream one at a time. */
const reader = (answers: AsyncIterable<WatchQrLoginResponse>) => {
  const iterator = answers[Symbol.asyncIterator]();
  return {
    next: async () => {
      const { value } = await iterator.next();
      return value?.qrLogin;
    },
    ended: async () => (await iterator.next()).done === true,
  };
};

/**
 * Advances the clock until the promise settles, so that the instance polls. Each poll is a query.
 */
async function pollUntil<T>(one: TestAuth, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = promise.finally(() => {
    settled = true;
  });
  while (!settled) {
    one.clock.advance(500);
    await pool.query("SELECT 1");
  }
  return done;
}

const device = async (one: TestAuth, tokens: Tokens | undefined) => {
  const { deviceId, deviceClass, userId } = await one.verifier.verify(tokens!.accessToken);
  return { deviceId, deviceClass, userId };
};

test("a code contains only the id: 128 bits, as a text and as an SVG", async (t) => {
  const one = await startTestAuth({ url, t });
  const { qrLoginId, text, svg, secret, expiresAtMs } = await request(one);
  assert.equal(Buffer.from(qrLoginId, "base64url").length, 16);
  assert.equal(Buffer.from(secret, "base64url").length, 32);
  assert.equal(text, `lucky://qr-login/${qrLoginId}`);
  assert.match(svg, /^<svg .*<\/svg>$/s);
  assert.equal(svg.includes(secret), false);
  assert.equal(expiresAtMs, BigInt(one.clock.now() + 120_000));
  const { rows } = await pool.query("SELECT q::text FROM auth.qr_login q");
  for (const { q } of rows) {
    for (const hidden of [qrLoginId, secret]) {
      assert.equal(q.includes(hidden), false);
      assert.equal(q.includes(Buffer.from(hidden, "base64url").toString("hex")), false);
      assert.equal(q.includes(Buffer.from(hidden).toString("hex")), false);
    }
  }
});

test("a device that polls gets its tokens once", async (t) => {
  const one = await startTestAuth({ url, t });
  const { requester, qrLoginId, expiresAtMs } = await request(one);
  const { call, proof, userId, userName } = await logInPhone(one);

  const waiting = (await one.auth.getQrLogin(requester)).qrLogin!;
  assert.equal(waiting.state, QrLoginState.WAITING);
  assert.equal(waiting.scannedBy, undefined);
  assert.equal(waiting.expiresAtMs, expiresAtMs);

  const scan = await one.auth.scanQrLogin({ qrLoginId }, call);
  assert.equal(scan.device?.deviceName, "Ana's desk");
  assert.equal(scan.device.clientVersion, "desk/1");
  assert.equal(scan.expiresAtMs, expiresAtMs);
  const scanned = (await one.auth.getQrLogin(requester)).qrLogin!;
  assert.equal(scanned.state, QrLoginState.SCANNED);
  assert.equal(scanned.scannedBy?.userName, userName);
  assert.equal(scanned.tokens, undefined);

  await one.auth.confirmQrLogin({ qrLoginId, proof }, call);
  const { qrLogin } = await one.auth.getQrLogin(requester);
  assert.equal(qrLogin?.state, QrLoginState.CONFIRMED);
  assert.deepEqual(await device(one, qrLogin.tokens), {
    deviceId: "desk",
    deviceClass: DeviceClass.DESKTOP,
    userId,
  });
  await refused(one.auth.getQrLogin(requester), ErrorReason.QR_LOGIN_STEP);
  const { rows } = await pool.query(
    "SELECT method FROM auth.login WHERE user_id = $1 AND device_id = 'desk'",
    [userId],
  );
  assert.deepEqual(rows, [{ method: "qr" }]);
});

test("a device that watches receives each state and its tokens", async (t) => {
  const one = await startTestAuth({ url, t });
  const { requester, qrLoginId } = await request(one);
  const { call, proof, userId } = await logInPhone(one);
  const watch = reader(one.auth.watchQrLogin(requester));
  assert.equal((await watch.next())?.state, QrLoginState.WAITING);
  const scanned = watch.next();
  await one.auth.scanQrLogin({ qrLoginId }, call);
  assert.equal((await pollUntil(one, scanned))?.scannedBy?.userId, userId);
  const confirmed = watch.next();
  await one.auth.confirmQrLogin({ qrLoginId, proof }, call);
  const confirmedLogin = await pollUntil(one, confirmed);
  assert.equal(confirmedLogin?.state, QrLoginState.CONFIRMED);
  assert.equal((await device(one, confirmedLogin.tokens)).userId, userId);
  assert.equal(await watch.ended(), true);
  assert.match(await one.metrics.text(), /^lucky_auth_qr_watches 0$/m);
});

test("a watch reports a refusal and the expiry", async (t) => {
  const one = await startTestAuth({ url, t });
  const { call } = await logInPhone(one);
  const refusedLogin = await request(one);
  const first = reader(one.auth.watchQrLogin(refusedLogin.requester));
  await first.next();
  await one.auth.scanQrLogin({ qrLoginId: refusedLogin.qrLoginId }, call);
  await one.auth.refuseQrLogin({ qrLoginId: refusedLogin.qrLoginId }, call);
  assert.equal((await pollUntil(one, first.next()))?.state, QrLoginState.REFUSED);
  assert.equal(await first.ended(), true);

  const expiredLogin = await request(one);
  const second = reader(one.auth.watchQrLogin(expiredLogin.requester));
  await second.next();
  const end = second.next();
  one.clock.advance(119_999);
  assert.equal(
    (await one.auth.getQrLogin(expiredLogin.requester)).qrLogin?.state,
    QrLoginState.WAITING,
  );
  one.clock.advance(1);
  assert.equal((await pollUntil(one, end))?.state, QrLoginState.EXPIRED);
  assert.equal(await second.ended(), true);
});

test("concurrent polls and watches on two instances get the tokens once", async (t) => {
  const one = await startTestAuth({ url, t });
  const two = await startTestAuth({ url, t, clock: one.clock });
  const { requester, qrLoginId } = await request(one);
  const { call, proof, userId } = await logInPhone(one);
  await one.auth.scanQrLogin({ qrLoginId }, call);
  await two.auth.confirmQrLogin({ qrLoginId, proof }, call);
  const attempts = Array.from({ length: 12 }, (_, i) => {
    const { auth } = i % 2 ? one : two;
    if (i < 6) return auth.getQrLogin(requester).then(({ qrLogin }) => qrLogin);
    return reader(auth.watchQrLogin(requester)).next();
  });
  const settled = await Promise.allSettled(attempts);
  const winners = settled.filter((one) => one.status === "fulfilled" && one.value?.tokens);
  assert.equal(winners.length, 1);
  const { rows } = await pool.query(
    "SELECT 1 FROM auth.login WHERE user_id = $1 AND device_id = 'desk'",
    [userId],
  );
  assert.equal(rows.length, 1);
});

test("a confirmation just before expiry leaves time to fetch the tokens", async (t) => {
  const one = await startTestAuth({ url, t });
  const { requester, qrLoginId } = await request(one);
  const { call, proof } = await logInPhone(one);
  await one.auth.scanQrLogin({ qrLoginId }, call);
  one.clock.advance(119_999);
  await one.auth.confirmQrLogin({ qrLoginId, proof }, call);
  one.clock.advance(14_999);
  assert.ok((await one.auth.getQrLogin(requester)).qrLogin?.tokens);
});

test("at the limit a new watch is OVERLOADED; a closed watch releases its slot", async (t) => {
  const one = await startTestAuth({ url, t, config: { maxQrWatches: 1 } });
  const [first, second] = [await request(one), await request(one)];
  const controller = new AbortController();
  const watch = reader(one.auth.watchQrLogin(first.requester, { signal: controller.signal }));
  await watch.next();
  const refusal = reader(one.auth.watchQrLogin(second.requester)).next();
  await refused(refusal, ErrorReason.OVERLOADED);
  controller.abort();
  const next = reader(one.auth.watchQrLogin(second.requester));
  assert.equal((await next.next())?.state, QrLoginState.WAITING);
});

test("a newer watch of the same QR login replaces the older one", async (t) => {
  const one = await startTestAuth({ url, t, config: { maxQrWatches: 1 } });
  const { requester, qrLoginId } = await request(one);
  const { call } = await logInPhone(one);
  const older = reader(one.auth.watchQrLogin(requester));
  await older.next();
  const lost = refused(older.next(), ErrorReason.OVERLOADED);
  const newer = reader(one.auth.watchQrLogin(requester));
  assert.equal((await newer.next())?.state, QrLoginState.WAITING);
  await lost;
  const scanned = newer.next();
  await one.auth.scanQrLogin({ qrLoginId }, call);
  assert.equal((await pollUntil(one, scanned))?.state, QrLoginState.SCANNED);
});

test("QR logins are deleted an hour after their expiry", async (t) => {
  const one = await startTestAuth({ url, t });
  const { requester } = await request(one);
  const database = openDatabase(pool);
  t.after(() => database.$disconnect());
  one.clock.advance(120_000 + 3_600_000);
  await deleteExpiredQrLogins({ clock: one.clock, database });
  assert.equal((await one.auth.getQrLogin(requester)).qrLogin?.state, QrLoginState.EXPIRED);
  one.clock.advance(1);
  await deleteExpiredQrLogins({ clock: one.clock, database });
  await refused(one.auth.getQrLogin(requester), ErrorReason.QR_LOGIN_NOT_FOUND);
});
