import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AuthService, DeviceClass, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { LuckyClient } from "../../client/client.ts";
import { reasonOf } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { clientOf, type Person, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const { clock } = world;
const auth = clientOf(world.url, AuthService);
const [ana] = (await people(world, "ana")) as [Person];
const [SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS] = [1_000, 60_000, 3_600_000, 86_400_000];
const PASSWORD = "a passphrase for stories";

/** The ids of the keys that access tokens are verified with. */
async function published(): Promise<string[]> {
  const { jwksJson } = await auth.getJwks({});
  return JSON.parse(jwksJson).keys.map(({ kid }: { kid: string }) => kid);
}

/** The id of the key that signed a token. */
function signerOf({ accessToken }: Tokens): string {
  return JSON.parse(Buffer.from(accessToken.split(".")[0]!, "base64url").toString()).kid;
}

/** The ids of all keys, those of columns, their indexes and codes included. */
async function stored(): Promise<string[]> {
  const { rows } = await world.pool.query("SELECT key_id FROM auth.key");
  return rows.map(({ key_id }) => key_id);
}

/** Asks until it holds, while time goes on slowly: instances look at the keys every half minute. */
async function until(holds: () => Promise<boolean>, stepMs = 31 * SECOND_MS): Promise<void> {
  for (let asked = 1; !(await holds()); asked++) if (asked % 20 === 0) await clock.advance(stepMs);
}

test("keys that are due get successors, which everybody knows first; the old ones go when they are done", {
  timeout: TIMEOUT,
}, async (t) => {
  const device = { deviceId: "desk", deviceClass: DeviceClass.DESKTOP };
  const client = new LuckyClient({ url: world.url, device, clock });
  t.after(() => client.close());
  await client.login(ana.userName, PASSWORD);
  const mine = (await ana.login()).accessToken;
  await clientOf(world.url, UserService, mine).updateProfile({ location: "Porto" });
  const first = await stored();
  const old = await auth.getPublicKey({});
  const [signer] = await published();
  const profile = ({ accessToken }: Tokens) =>
    clientOf(world.url, UserService, accessToken).getMyProfile({});
  /** As a client that got the key before it was replaced, and the nonce after. */
  const loginUnderOld = async () => {
    const { nonce, serverTimeMs } = await auth.getPublicKey({});
    const sealed = await sealPassword({ ...old, nonce, serverTimeMs }, PASSWORD);
    return auth.login({ userName: ana.userName, password: sealed, device });
  };

  await clock.advance(89 * DAY_MS);
  assert.deepEqual(await published(), [signer]);
  await clock.advance(DAY_MS);
  await until(async () => (await published()).length === 2);
  // The successors are known for an hour before anything is made with them.
  assert.equal(signerOf(await ana.login()), signer);
  await clock.advance(HOUR_MS - 10 * MINUTE_MS);
  const before = await ana.login();
  assert.equal(signerOf(before), signer);
  assert.equal((await auth.getPublicKey({})).keyId, old.keyId);
  await clock.advance(10 * MINUTE_MS);
  const since = await ana.login();
  const successor = (await published()).find((kid) => kid !== signer);
  assert.equal(signerOf(since), successor);
  const fresh = await auth.getPublicKey({});
  assert.notEqual(fresh.keyId, old.keyId);
  assert.notDeepEqual(fresh.spki, old.spki);

  // What the old ones made is good for its time.
  await profile(before);
  await profile(since);
  await loginUnderOld();
  assert.equal((await published()).length, 2);
  await clock.advance(16 * MINUTE_MS);
  await until(async () => (await published()).length === 1);
  assert.deepEqual(await published(), [successor]);
  await profile(await ana.login());

  // The password key decrypts for a day.
  await clock.advance(DAY_MS - HOUR_MS);
  await loginUnderOld();
  await clock.advance(HOUR_MS);
  await until(async () => {
    const reason = await loginUnderOld().then(() => undefined, reasonOf);
    if (reason !== undefined) assert.equal(ErrorReason[reason], "ENCRYPTION_INVALID");
    return reason !== undefined;
  });
  // Our client gets the key anew by itself.
  await client.login(ana.userName, PASSWORD);

  // So do the keys of columns, once everything is sealed under their successors.
  await until(async () => {
    const now = await stored();
    return !first.some((keyId) => now.includes(keyId));
  }, 10 * MINUTE_MS);
  const { profile: kept } = await profile(await ana.login());
  assert.equal(kept?.profile?.location, "Porto");
});
