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

/** Ids of the published keys, which verify access tokens. */
async function published(): Promise<string[]> {
  const { jwksJson } = await auth.getJwks({});
  return JSON.parse(jwksJson).keys.map(({ kid }: { kid: string }) => kid);
}

/** Id of the key that signed a token. */
function signerOf({ accessToken }: Tokens): string {
  return JSON.parse(Buffer.from(accessToken.split(".")[0]!, "base64url").toString()).kid;
}

/** Ids of all stored keys that rotate, including those of columns, their indexes and codes. */
async function stored(): Promise<string[]> {
  const sql = "SELECT key_id FROM auth.key WHERE purpose <> 'userId'";
  const { rows } = await world.pool.query(sql);
  return rows.map(({ key_id }) => key_id);
}

/**
 * Polls until `holds` returns true, and moves time forward slowly: instances re-read the keys every
 * 30 s.
 */
async function until(holds: () => Promise<boolean>, stepMs = 31 * SECOND_MS): Promise<void> {
  for (let polls = 1; !(await holds()); polls++) if (polls % 20 === 0) await clock.advance(stepMs);
}

test("due keys are rotated: successors are published before their first use, old keys are deleted after their last", {
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
  /** Logs in like a client that fetched the key before its rotation and the nonce afterwards. */
  const loginUnderOld = async () => {
    const { nonce, serverTimeMs } = await auth.getPublicKey({});
    const sealed = await sealPassword({ ...old, nonce, serverTimeMs }, PASSWORD);
    return auth.login({ userName: ana.userName, password: sealed, device });
  };

  await clock.advance(89 * DAY_MS);
  assert.deepEqual(await published(), [signer]);
  await clock.advance(DAY_MS);
  await until(async () => (await published()).length === 2);
  // Successors are published for an hour before their first use.
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

  // Tokens and passwords made under the old keys stay valid for their lifetime.
  await profile(before);
  await profile(since);
  await loginUnderOld();
  assert.equal((await published()).length, 2);
  await clock.advance(16 * MINUTE_MS);
  await until(async () => (await published()).length === 1);
  assert.deepEqual(await published(), [successor]);
  await profile(await ana.login());

  // The old password key decrypts for a day after its rotation.
  await clock.advance(DAY_MS - HOUR_MS);
  await loginUnderOld();
  await clock.advance(HOUR_MS);
  await until(async () => {
    const reason = await loginUnderOld().then(() => undefined, reasonOf);
    if (reason !== undefined) assert.equal(ErrorReason[reason], "ENCRYPTION_INVALID");
    return reason !== undefined;
  });
  // Our client re-fetches the key by itself.
  await client.login(ana.userName, PASSWORD);

  // The keys of columns are deleted once all values are re-sealed under their successors.
  await until(async () => {
    const now = await stored();
    return !first.some((keyId) => now.includes(keyId));
  }, 10 * MINUTE_MS);
  const { profile: kept } = await profile(await ana.login());
  assert.equal(kept?.profile?.location, "Porto");
});
