import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { AuthService, DeviceClass, QrLoginState } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { sealPassword } from "../../client/login/password.ts";
import { clientOf, type Person, people } from "../world/people.ts";
import { anonymousAuth, QrScreen } from "../world/qr-screen.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const { WAITING, SCANNED, CONFIRMED, REFUSED, EXPIRED } = QrLoginState;
type Reason = keyof typeof ErrorReason;

/** What somebody may try. */
type Calls = ReturnType<typeof clientOf<typeof AuthService>>;

async function refused(call: Promise<unknown>, reason: Reason): Promise<string> {
  const error = await call.then(
    () => assert.fail(`answered, and should be ${reason}`),
    (thrown: unknown) => thrown,
  );
  assert.equal(ErrorReason[reasonOf(error)], reason);
  return ConnectError.from(error).rawMessage;
}

/** Calls as a person's fresh device. */
async function deviceOf(person: Person, deviceClass = DeviceClass.MOBILE, url = world.url) {
  const deviceId = randomUUID();
  const { accessToken } = await person.login({ deviceId, deviceClass });
  return { deviceId, accessToken, auth: clientOf(url, AuthService, accessToken) };
}

/** Ana with her phone, Mallory with his, and a device that waits to be let in by Ana. */
async function scene() {
  const [ana, mallory] = (await people(world, "ana", "mallory")) as [Person, Person];
  const [phone, thief] = await Promise.all([deviceOf(ana), deviceOf(mallory)]);
  const screen = await QrScreen.show(world);
  return { ana, mallory, phone: phone.auth, thief: thief.auth, screen, id: screen.qrLoginId };
}
type Scene = Awaited<ReturnType<typeof scene>>;

const scan = (auth: Calls, qrLoginId: string) => auth.scanQrLogin({ qrLoginId });
const confirm = (auth: Calls, qrLoginId: string) => auth.confirmQrLogin({ qrLoginId });
const refuse = (auth: Calls, qrLoginId: string) => auth.refuseQrLogin({ qrLoginId });
const guessed = (bytes: number) => randomBytes(bytes).toString("base64url");
const bent = (token: string) => (token.startsWith("A") ? "B" : "A") + token.slice(1);

/** Ana lets the device in, and it fetches its tokens. */
async function letIn({ phone, screen, id }: Scene) {
  await scan(phone, id);
  await confirm(phone, id);
  const { tokens } = await screen.poll();
  assert.ok(tokens);
  return tokens;
}

async function loginsOf(person: Person, deviceId: string): Promise<number> {
  const { rows } = await world.pool.query(
    "SELECT count(*)::int AS n FROM auth.login WHERE user_id = $1 AND device_id = $2",
    [person.userId, deviceId],
  );
  return rows[0].n;
}

/** One attack: what is done, and what it must come to. */
const attacks: Record<string, (scene: Scene) => Promise<void>> = {
  "somebody else confirms what Ana scanned": async ({ phone, thief, screen, id }) => {
    await scan(phone, id);
    await refused(confirm(thief, id), "QR_LOGIN_FOREIGN");
    assert.equal((await screen.poll()).state, SCANNED);
  },
  "somebody else refuses what Ana scanned": async ({ phone, thief, screen, id }) => {
    await scan(phone, id);
    await refused(refuse(thief, id), "QR_LOGIN_FOREIGN");
    assert.equal((await screen.poll()).state, SCANNED);
  },
  "somebody else scans after Ana did": async ({ ana, phone, thief, screen, id }) => {
    await scan(phone, id);
    await refused(scan(thief, id), "QR_LOGIN_FOREIGN");
    assert.equal((await screen.poll()).scannedBy?.userId, ana.userId);
  },
  "another phone of Ana's confirms what her first one scanned": async ({ ana, phone, id }) => {
    const other = await deviceOf(ana);
    await scan(phone, id);
    await refused(confirm(other.auth, id), "QR_LOGIN_FOREIGN");
    await refused(scan(other.auth, id), "QR_LOGIN_FOREIGN");
  },
  "a confirmation without a scan": async ({ phone, screen, id }) => {
    await refused(confirm(phone, id), "QR_LOGIN_STEP");
    assert.equal((await screen.poll()).state, WAITING);
  },
  "a refusal without a scan": async ({ thief, screen, id }) => {
    await refused(refuse(thief, id), "QR_LOGIN_STEP");
    assert.equal((await screen.poll()).state, WAITING);
  },
  "two phones scan at the same moment: one has it": async ({ phone, thief, id }) => {
    const both = await Promise.allSettled([scan(phone, id), scan(thief, id)]);
    const lost = both.filter((one) => one.status === "rejected");
    assert.equal(lost.length, 1);
    assert.equal(reasonOf(lost[0]?.reason), ErrorReason.QR_LOGIN_FOREIGN);
  },
  "an id is guessed": async ({ thief, screen }) => {
    const id = guessed(16);
    await refused(scan(thief, id), "QR_LOGIN_NOT_FOUND");
    await refused(confirm(thief, id), "QR_LOGIN_NOT_FOUND");
    await refused(refuse(thief, id), "QR_LOGIN_NOT_FOUND");
    const asking = { ...screen.credentials, qrLoginId: id };
    await refused(screen.auth.getQrLogin(asking), "QR_LOGIN_NOT_FOUND");
  },
  "the screen is photographed: the code does not have the secret": async (the) => {
    await scan(the.phone, the.id);
    await confirm(the.phone, the.id);
    const asking = { ...the.screen.credentials, secret: guessed(32) };
    await refused(the.screen.auth.getQrLogin(asking), "QR_LOGIN_NOT_FOUND");
    const watch = the.screen.auth.watchQrLogin(asking)[Symbol.asyncIterator]();
    await refused(watch.next(), "QR_LOGIN_NOT_FOUND");
    assert.ok((await the.screen.poll()).tokens);
  },
  "a stolen secret from another device": async (the) => {
    await scan(the.phone, the.id);
    await confirm(the.phone, the.id);
    const asking = { ...the.screen.credentials, deviceId: "of-the-thief" };
    await refused(the.screen.auth.getQrLogin(asking), "QR_LOGIN_NOT_FOUND");
    const watch = the.screen.auth.watchQrLogin(asking)[Symbol.asyncIterator]();
    await refused(watch.next(), "QR_LOGIN_NOT_FOUND");
    assert.ok((await the.screen.poll()).tokens);
  },
  "the secret of one QR login for another": async ({ phone, screen, id }) => {
    const own = await QrScreen.show(world, { deviceId: screen.credentials.deviceId });
    await scan(phone, id);
    await confirm(phone, id);
    const mixed = { ...own.credentials, qrLoginId: id };
    await refused(own.auth.getQrLogin(mixed), "QR_LOGIN_NOT_FOUND");
  },
  "what is wrong cannot be told from the answer": async ({ screen }) => {
    const { credentials: asking, auth } = screen;
    const texts = [
      { ...asking, qrLoginId: guessed(16) },
      { ...asking, secret: bent(asking.secret) },
      { ...asking, deviceId: "another" },
    ].map((wrong) => refused(auth.getQrLogin(wrong), "QR_LOGIN_NOT_FOUND"));
    assert.equal(new Set(await Promise.all(texts)).size, 1);
  },
  "the tokens are fetched a second time": async (the) => {
    await letIn(the);
    await refused(the.screen.poll(), "QR_LOGIN_STEP");
    await refused(the.screen.watch().next(), "QR_LOGIN_STEP");
    assert.equal(await loginsOf(the.ana, the.screen.credentials.deviceId), 1);
  },
  "the tokens are fetched ten times at once": async ({ ana, phone, screen, id }) => {
    await scan(phone, id);
    await confirm(phone, id);
    const all = await Promise.allSettled(Array.from({ length: 10 }, () => screen.poll()));
    const had = all.filter((one) => one.status === "fulfilled" && one.value.tokens);
    assert.equal(had.length, 1);
    assert.equal(await loginsOf(ana, screen.credentials.deviceId), 1);
  },
  "a confirmation is played again": async (the) => {
    await scan(the.phone, the.id);
    await confirm(the.phone, the.id);
    await refused(confirm(the.phone, the.id), "QR_LOGIN_STEP");
    await the.screen.poll();
    await refused(confirm(the.phone, the.id), "QR_LOGIN_STEP");
    await refused(confirm(the.thief, the.id), "QR_LOGIN_FOREIGN");
  },
  "a code is scanned again after its tokens were handed out": async (the) => {
    await letIn(the);
    await refused(scan(the.phone, the.id), "QR_LOGIN_STEP");
    await refused(scan(the.thief, the.id), "QR_LOGIN_FOREIGN");
  },
  "a device that was turned away is confirmed after all": async ({ phone, thief, screen, id }) => {
    await scan(phone, id);
    await refuse(phone, id);
    await refused(confirm(phone, id), "QR_LOGIN_STEP");
    await refused(scan(thief, id), "QR_LOGIN_FOREIGN");
    const { state, tokens } = await screen.poll();
    assert.deepEqual({ state, tokens }, { state: REFUSED, tokens: undefined });
  },
  "confirmed and refused at the same moment: one of them": async ({ phone, screen, id }) => {
    await scan(phone, id);
    const both = await Promise.allSettled([confirm(phone, id), refuse(phone, id)]);
    const lost = both.filter((one) => one.status === "rejected");
    assert.equal(lost.length, 1);
    assert.equal(reasonOf(lost[0]?.reason), ErrorReason.QR_LOGIN_STEP);
    const { state, tokens } = await screen.poll();
    const confirmed = both[0].status === "fulfilled";
    assert.equal(state, confirmed ? CONFIRMED : REFUSED);
    assert.equal(tokens !== undefined, confirmed);
  },
  "a desktop or a browser plays the phone": async ({ ana, phone, id }) => {
    for (const deviceClass of [DeviceClass.DESKTOP, DeviceClass.WEB, DeviceClass.BOT]) {
      const { auth } = await deviceOf(ana, deviceClass);
      await refused(scan(auth, id), "PHONE_DEVICE_REQUIRED");
      await refused(confirm(auth, id), "PHONE_DEVICE_REQUIRED");
      await refused(refuse(auth, id), "PHONE_DEVICE_REQUIRED");
    }
    await scan(phone, id);
  },
  "nobody scans, confirms or refuses": async ({ id }) => {
    const auth = anonymousAuth(world.url);
    for (const attempt of [scan, confirm, refuse])
      await refused(attempt(auth, id), "TOKEN_INVALID");
  },
  "the asking device lets itself in with its secret": async ({ screen, id }) => {
    const auth = clientOf(world.url, AuthService, screen.credentials.secret);
    for (const attempt of [scan, confirm]) await refused(attempt(auth, id), "TOKEN_INVALID");
  },
  "a bot lets a device in": async ({ mallory, id }) => {
    await world.pool.query("UPDATE auth.account SET role = 'bot' WHERE user_id = $1", [
      mallory.userId,
    ]);
    const bot = await deviceOf(mallory);
    for (const attempt of [scan, confirm, refuse])
      await refused(attempt(bot.auth, id), "PERMISSION_DENIED");
  },
  "a phone lets in what says it is that phone": async ({ ana }) => {
    const phone = await deviceOf(ana);
    const screen = await QrScreen.show(world, { deviceId: phone.deviceId });
    await refused(scan(phone.auth, screen.qrLoginId), "QR_LOGIN_STEP");
    // Its own login has not been taken away.
    await scan(phone.auth, (await QrScreen.show(world)).qrLoginId);
  },
  "the phone logs out before it confirms": async ({ ana, screen, id }) => {
    const phone = await deviceOf(ana);
    await scan(phone.auth, id);
    await phone.auth.logout({});
    await refused(confirm(phone.auth, id), "TOKEN_REVOKED");
    assert.equal((await screen.poll()).state, SCANNED);
  },
  "the phone logs out before the tokens are fetched": async ({ ana, screen, id }) => {
    const phone = await deviceOf(ana);
    await scan(phone.auth, id);
    await confirm(phone.auth, id);
    await phone.auth.logout({});
    const { state, tokens } = await screen.poll();
    assert.deepEqual({ state, tokens }, { state: REFUSED, tokens: undefined });
    assert.equal(await loginsOf(ana, screen.credentials.deviceId), 0);
  },
  "the account is disabled before the phone confirms": async ({ ana, phone, id }) => {
    await scan(phone, id);
    await disable(ana);
    await refused(confirm(phone, id), "ACCOUNT_DISABLED");
  },
  "the account is disabled before the tokens are fetched": async ({ ana, phone, screen, id }) => {
    await scan(phone, id);
    await confirm(phone, id);
    await disable(ana);
    const { state, tokens } = await screen.poll();
    assert.deepEqual({ state, tokens }, { state: REFUSED, tokens: undefined });
    assert.equal(await loginsOf(ana, screen.credentials.deviceId), 0);
  },
  "the phone asks for the tokens itself": async ({ phone, id, ana, screen }) => {
    await scan(phone, id);
    // What the phone learns has neither the secret nor tokens in it.
    assert.deepEqual(Object.keys(await confirm(phone, id)), ["$typeName"]);
    const asking = { qrLoginId: id, secret: guessed(32), deviceId: screen.credentials.deviceId };
    await refused(phone.getQrLogin(asking), "QR_LOGIN_NOT_FOUND");
    assert.equal(await loginsOf(ana, screen.credentials.deviceId), 0);
  },
  "ids and secrets that are none": async ({ phone, screen }) => {
    for (const bad of ["", "a", "' OR 1=1 --------------", "é".repeat(22), "A".repeat(2_000)]) {
      await refused(scan(phone, bad), "INVALID_ARGUMENT");
      await refused(confirm(phone, bad), "INVALID_ARGUMENT");
      const { credentials: asking, auth } = screen;
      await refused(auth.getQrLogin({ ...asking, secret: bad }), "INVALID_ARGUMENT");
      const watch = auth.watchQrLogin({ ...asking, qrLoginId: bad })[Symbol.asyncIterator]();
      await refused(watch.next(), "INVALID_ARGUMENT");
    }
  },
  "a device whose name deceives the eye by control characters": async () => {
    await refused(QrScreen.show(world, { deviceName: "your phone\u0000" }), "INVALID_ARGUMENT");
    await refused(QrScreen.show(world, { deviceName: "a\nb" }), "INVALID_ARGUMENT");
    await refused(QrScreen.show(world, { deviceName: "x".repeat(65) }), "INVALID_ARGUMENT");
  },
  "a device whose name is read the other way round": async () => {
    for (const deviceName of ["\u202eenohp ruoy", "your \u2066phone", "\u2069 at home"])
      await refused(QrScreen.show(world, { deviceName }), "INVALID_ARGUMENT");
    // What people who write from right to left need.
    await QrScreen.show(world, { deviceName: "هاتف\u200f (2)" });
  },
  "Ana thinks better of it and changes her password before the tokens are fetched": async (the) => {
    const { ana, screen, id } = the;
    const phone = (await deviceOf(ana)).auth;
    await scan(phone, id);
    await confirm(phone, id);
    const key = await phone.getPublicKey({});
    const [oldPassword, newPassword] = await Promise.all(
      ["a passphrase for stories", "tulip hatchet orbit"].map((text) => sealPassword(key, text)),
    );
    // Her phone stays, but what it let in does not get in.
    await phone.changePassword({ oldPassword, newPassword });
    assert.equal((await screen.poll()).state, REFUSED);
    assert.equal(await loginsOf(ana, screen.credentials.deviceId), 0);
  },
  "Ana ends all other logins before the tokens are fetched": async ({ ana, screen, id }) => {
    const { auth: phone, accessToken } = await deviceOf(ana);
    await scan(phone, id);
    await confirm(phone, id);
    await clientOf(world.url, DeviceService, accessToken).revokeOtherDevices({});
    assert.equal((await screen.poll()).state, REFUSED);
    assert.equal(await loginsOf(ana, screen.credentials.deviceId), 0);
  },
  "a device says that it asks from elsewhere": async ({ phone }) => {
    const headers = { "lucky-peer": "203.0.113.9", "x-forwarded-for": "203.0.113.9" };
    const device = { deviceId: randomUUID(), deviceClass: DeviceClass.DESKTOP };
    const { qrLoginId } = await anonymousAuth(world.url).createQrLogin({ device }, { headers });
    assert.equal((await scan(phone, qrLoginId)).coarseAddress, "127.0.0.0/24");
  },
};

async function disable({ userId }: Person): Promise<void> {
  await world.pool.query("UPDATE auth.account SET state = 'disabled' WHERE user_id = $1", [userId]);
}

for (const [name, attack] of Object.entries(attacks)) {
  test(`QR login, attacked: ${name}`, { timeout: TIMEOUT }, async () => attack(await scene()));
}

test("QR login, attacked: everything comes too late", { timeout: TIMEOUT }, async () => {
  const { clock } = world;
  const { phone, screen: unseen } = await scene();
  const [seen, answered] = await Promise.all([QrScreen.show(world), QrScreen.show(world)]);
  const watch = unseen.watch();
  assert.equal((await watch.next())?.state, WAITING);
  await scan(phone, seen.qrLoginId);
  // Two minutes are nearly over when the third one is confirmed.
  await clock.advance(90_000);
  await scan(phone, answered.qrLoginId);
  await confirm(phone, answered.qrLoginId);
  assert.equal((await seen.poll()).state, SCANNED);

  const end = watch.next();
  await clock.advance(30_000);
  assert.equal((await end)?.state, EXPIRED);
  assert.equal(await watch.next(), undefined);
  await refused(scan(phone, unseen.qrLoginId), "QR_LOGIN_EXPIRED");
  await refused(confirm(phone, seen.qrLoginId), "QR_LOGIN_EXPIRED");
  await refused(refuse(phone, seen.qrLoginId), "QR_LOGIN_EXPIRED");
  assert.equal((await seen.poll()).state, EXPIRED);
  const { state, tokens } = await answered.poll();
  assert.deepEqual({ state, tokens }, { state: EXPIRED, tokens: undefined });

  // What is confirmed near the end can be fetched for 15 seconds, and not longer.
  const [fetched, late] = await Promise.all([QrScreen.show(world), QrScreen.show(world)]);
  await clock.advance(112_000);
  for (const { qrLoginId } of [fetched, late]) {
    await scan(phone, qrLoginId);
    await confirm(phone, qrLoginId);
  }
  await clock.advance(9_000);
  assert.equal((await fetched.poll()).state, CONFIRMED);
  await clock.advance(6_000);
  assert.equal((await late.poll()).state, EXPIRED);
});
