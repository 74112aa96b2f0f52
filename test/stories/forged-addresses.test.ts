import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  AuthService,
  DeviceClass,
  LoginBySmsCodeRequestSchema,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;

const GUESS = {
  phone: "+4915112345678",
  code: "000000",
  device: { deviceId: "guesser", deviceClass: DeviceClass.WEB },
};

/** Forged X-Forwarded-For headers, with which a client imitates another one to its proxy. */
const FORGED = [
  "198.51.100.1",
  "198.51.100.2:50123, 198.51.100.3",
  "[2001:db8:1::1]:443",
  "a text",
  "198.51.100.4, ",
  "127.0.0.1",
];

test("a forged X-Forwarded-For does not buy a second budget, by RPC or over sockets", {
  timeout: TIMEOUT,
}, async (t) => {
  const world = await startWorld(t, {
    settings: {
      LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: String(FORGED.length),
      LUCKY_GATEWAY_TRUSTED_PROXIES: "127.0.0.1, 10.0.0.0/8",
    },
  });
  const [ana] = await people(world, "ana");
  const { accessToken } = await ana!.login();
  let clientPort = 40_000;
  /** The header that two proxies wrote. This test is the second one, so its peer is the first. */
  const through = (client: string, forged: string) => ({
    "x-forwarded-for": `${forged}, ${client}:${++clientPort}, 10.0.0.1:8080`,
  });
  const byRpc = (client: string, forged: string) =>
    clientOf(world.url, AuthService)
      .loginBySmsCode(GUESS, { headers: through(client, forged) })
      .then(() => undefined, reasonOf);
  const bySocket = async (client: string, forged: string) => {
    const device = await RawDevice.open(world.url, "/ws", through(client, forged));
    device.send({ case: "hello", value: { accessToken } });
    await device.next("welcome");
    const request = toBinary(
      LoginBySmsCodeRequestSchema,
      create(LoginBySmsCodeRequestSchema, GUESS),
    );
    const method = `${AuthService.typeName}/LoginBySmsCode`;
    device.send({ case: "rpc", value: { callId: "1", method, request } });
    const { outcome } = await device.next("rpcResult");
    await device.close();
    return outcome.case === "error" ? outcome.value.error?.reason : undefined;
  };

  for (const forged of FORGED) {
    assert.equal(await byRpc("203.0.113.1", forged), ErrorReason.SMS_CODE_INVALID, forged);
  }
  for (const forged of FORGED) {
    assert.equal(await byRpc("203.0.113.1", forged), ErrorReason.RATE_LIMITED, forged);
    assert.equal(await bySocket("203.0.113.1", forged), ErrorReason.RATE_LIMITED, forged);
  }
  assert.equal(await bySocket("203.0.113.2", FORGED[0]!), ErrorReason.SMS_CODE_INVALID);
});
