import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { ConnectError } from "@connectrpc/connect";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { clientOf, type Person, people, proofBy } from "../world/people.ts";
import { QrScreen } from "../world/qr-screen.ts";
import type { World } from "../world/world.ts";

type Auth = ReturnType<typeof clientOf<typeof AuthService>>;
/** AuthService as one device, with the proof of its login. */
type DeviceAuth = Auth & { readonly proof: ReturnType<typeof proofBy> };

/** Ana with her phone, Mallory with his, and a screen whose QR login waits for a scan. */
export interface QrScene {
  readonly ana: Person;
  readonly mallory: Person;
  /** AuthService as Ana's phone. */
  readonly phone: DeviceAuth;
  /** AuthService as Mallory's phone. */
  readonly thief: DeviceAuth;
  readonly screen: QrScreen;
  /** Id of the QR login that the screen shows. */
  readonly id: string;
}

/** Registers the people of a scene and shows a QR login. */
export async function qrScene(world: World): Promise<QrScene> {
  const [ana, mallory] = (await people(world, "ana", "mallory")) as [Person, Person];
  const [phone, thief] = await Promise.all([newDevice(world, ana), newDevice(world, mallory)]);
  const screen = await QrScreen.show(world);
  return { ana, mallory, phone: phone.auth, thief: thief.auth, screen, id: screen.qrLoginId };
}

/** Logs in a new device of the person. */
export async function newDevice(
  world: World,
  person: Person,
  deviceClass: DeviceClass = DeviceClass.MOBILE,
) {
  const deviceId = randomUUID();
  const tokens = await person.login({ deviceId, deviceClass });
  const { accessToken } = tokens;
  const proof = proofBy(tokens);
  const auth = Object.assign(clientOf(world.url, AuthService, accessToken), { proof });
  return { deviceId, tokens, accessToken, auth };
}

/** Awaits a call that must fail with the reason. Returns the text of the error. */
export async function refused(
  call: Promise<unknown>,
  reason: keyof typeof ErrorReason,
): Promise<string> {
  const error = await call.then(
    () => assert.fail(`answered, and should be ${reason}`),
    (thrown: unknown) => thrown,
  );
  assert.equal(ErrorReason[reasonOf(error)], reason);
  return ConnectError.from(error).rawMessage;
}

export const scan = (auth: Auth, qrLoginId: string) => auth.scanQrLogin({ qrLoginId });
export const confirm = (auth: Auth & Partial<DeviceAuth>, qrLoginId: string) =>
  auth.confirmQrLogin({ qrLoginId, proof: auth.proof });
export const refuse = (auth: Auth, qrLoginId: string) => auth.refuseQrLogin({ qrLoginId });

/** A random id or secret of the right form. */
export const guessed = (bytes: number) => randomBytes(bytes).toString("base64url");

/** Ana's phone scans and confirms, and the screen fetches its tokens. */
export async function completeLogin({ phone, screen, id }: QrScene) {
  await scan(phone, id);
  await confirm(phone, id);
  const { tokens } = await screen.poll();
  assert.ok(tokens);
  return tokens;
}

/** Number of logins of the person's device. */
export async function countLogins(world: World, person: Person, deviceId: string): Promise<number> {
  const { rows } = await world.pool.query(
    "SELECT count(*)::int AS n FROM auth.login WHERE user_id = $1 AND device_id = $2",
    [person.userId, deviceId],
  );
  return rows[0].n;
}

/** Disables the account in the database: its logins and open sessions stay. */
export async function disable(world: World, { userId }: Person): Promise<void> {
  await world.pool.query("UPDATE auth.account SET state = 'disabled' WHERE user_id = $1", [userId]);
}
