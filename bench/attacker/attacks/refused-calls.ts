import { randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { AuthService, DeviceClass, LoginRequestSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { sealPassword } from "../../../client/login/password.ts";
import { HttpCaller } from "../../system/http-caller.ts";
import type { Attack } from "../target/attack.ts";
import { clientAt } from "../target/attack-user.ts";
import { inParallel, keepDoing } from "../target/loops.ts";
import { keepPosting, labelOf } from "../target/posts.ts";
import type { Target } from "../target/target.ts";

const CONNECTIONS = 32;
const LOGINS = 16;
/** Source addresses, used in turn for the logins: each has a small budget of credentials. */
const ADDRESSES = 250;

export const refusedCalls: Attack = {
  name: "refused-calls",
  summary: `${CONNECTIONS} connections call without a token, and ${LOGINS} log in under unknown names, from ${ADDRESSES} addresses`,
  prepare: (target) => (signal) => {
    let logins = 0;
    return Promise.all([
      inParallel(CONNECTIONS, () =>
        keepPosting(target, signal, {
          method: `${MessageService.typeName}/Acknowledge`,
          request: new Uint8Array(0),
        }),
      ),
      inParallel(LOGINS, () =>
        keepDoing(target, signal, () =>
          logInUnknown(target, `127.0.7.${1 + (logins++ % ADDRESSES)}`),
        ),
      ),
    ]);
  },
};

/** Logs in under a name that no user has. */
async function logInUnknown(target: Target, from: string): Promise<void> {
  const auth = clientAt(target, from, { service: AuthService });
  const request = create(LoginRequestSchema, {
    userName: `unknown-${randomUUID()}`,
    password: await sealPassword(await auth.getPublicKey({}), "no password of anybody"),
    device: { deviceId: "unknown", deviceClass: DeviceClass.WEB },
  });
  const caller = new HttpCaller({
    url: target.url,
    method: `${AuthService.typeName}/Login`,
    request: toBinary(LoginRequestSchema, request),
    socket: target.connect({ from }),
  });
  target.tally.add("logins");
  try {
    target.tally.answered(`login: ${labelOf(await caller.exchange())}`);
  } finally {
    caller.close();
  }
}
