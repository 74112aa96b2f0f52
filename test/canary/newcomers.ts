import { randomUUID } from "node:crypto";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import { sealPassword } from "../../client/login/password.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientFrom, type Reachable } from "../world/people.ts";
import { RepeatedAction } from "./repeated-action.ts";

const INTERVAL_MS = 2_000;
const PASSWORD = "a passphrase for newcomers";

/** New users, one every two seconds. Measures how long each takes to enter. */
export function newcomers(world: Reachable, clock: Clock): RepeatedAction {
  return new RepeatedAction({
    clock,
    intervalMs: INTERVAL_MS,
    action: (number) => enter(world, number),
  });
}

/** Registers and logs in over connections from an address of its own, and opens a session. */
async function enter({ url }: Reachable, number: number): Promise<void> {
  const localAddress = `127.0.1.${1 + (number % 250)}`;
  const auth = clientFrom({ url, nodeOptions: { localAddress, agent: false } }, AuthService);
  const userName = `newcomer-${randomUUID().slice(0, 8)}`;
  const sealed = async () => sealPassword(await auth.getPublicKey({}), PASSWORD);
  await auth.register({ userName, password: await sealed() });
  const { tokens } = await auth.login({
    userName,
    password: await sealed(),
    device: { deviceId: randomUUID(), deviceClass: DeviceClass.WEB },
  });
  const device = await RawDevice.hello(url, tokens!.accessToken);
  await device.close();
}
