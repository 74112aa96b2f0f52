import assert from "node:assert/strict";
import { after, test } from "node:test";
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { errorFromJsonBytes } from "@connectrpc/connect/protocol-connect";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode, type RpcResult } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { MessageService, SendRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { detailOf, reasonOf } from "#platform/errors.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, proofBy } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

let calls = 0;

/** Calls over the socket. Returns the answer, or the reason of the error. */
async function rpc<I extends DescMessage, O extends DescMessage>(
  device: RawDevice,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O> | ErrorReason> {
  const outcome = await outcomeOf(device, method, request);
  if (outcome.case === "response") return fromBinary(method.output, outcome.value);
  return outcome.value?.error?.reason ?? ErrorReason.UNSPECIFIED;
}

async function outcomeOf<I extends DescMessage, O extends DescMessage>(
  device: RawDevice,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<RpcResult["outcome"]> {
  const callId = String(++calls);
  const name = `${method.parent.typeName}/${method.name}`;
  const bytes = toBinary(method.input, create(method.input, request));
  device.send({ case: "rpc", value: { callId, method: name, request: bytes } });
  const { outcome } = await device.next("rpcResult", (result) => result.callId === callId);
  return outcome;
}

async function answered<I extends DescMessage, O extends DescMessage>(
  device: RawDevice,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O>> {
  const answer = await rpc(device, method, request);
  if (typeof answer === "number") throw new Error(`refused with ${ErrorReason[answer]}`);
  return answer;
}

test("devices are managed, tokens refreshed and logins ended over the socket", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  for (const address of [world.url, world.connects.at(-1)!]) {
    const laptopTokens = await ana!.login({ deviceId: "laptop" });
    const laptop = await RawDevice.hello(address, laptopTokens.accessToken);
    const tokens = await ana!.login({ deviceId: "phone" });
    const phone = await RawDevice.hello(address, tokens.accessToken);
    const { devices } = await answered(phone, DeviceService.method.listDevices, {});
    assert.deepEqual(devices.map(({ device }) => device!.deviceId).toSorted(), ["laptop", "phone"]);
    const name = { deviceId: "laptop", deviceName: "Laptop" };
    await answered(phone, DeviceService.method.renameDevice, name);
    const unknown = { deviceId: "toaster", deviceName: "Toaster" };
    const missing = await rpc(phone, DeviceService.method.renameDevice, unknown);
    assert.equal(missing, ErrorReason.DEVICE_NOT_FOUND);

    const { refreshToken } = tokens;
    const fresh = await answered(phone, AuthService.method.refresh, { refreshToken });
    const { accessToken } = fresh.tokens!;
    phone.send({ case: "renew", value: { accessToken } });
    await phone.roundTrip();
    const revocation = { deviceId: "laptop", proof: proofBy(fresh.tokens!) };
    await answered(phone, DeviceService.method.revokeDevice, revocation);
    assert.equal((await laptop.closed).code, CloseCode.TOKEN_REVOKED);
    await rpc(phone, AuthService.method.logout, {}).catch(() => {});
    assert.equal((await phone.closed).code, CloseCode.TOKEN_REVOKED);
  }
});

test("a fault has the same reason and field by RPC and over the socket", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana-faults");
  const { accessToken } = await ana!.login();
  const text = (field: number, value: string) =>
    Buffer.concat([Buffer.of((field << 3) | 2, value.length), Buffer.from(value)]);
  const faults: [method: string, request: Uint8Array, reason: ErrorReason, field?: string][] = [
    ["lucky.user.v1.UserService/Nothing", Buffer.alloc(0), ErrorReason.METHOD_NOT_FOUND],
    [
      "lucky.internal.session.v1.SessionService/CheckUsers",
      Buffer.alloc(0),
      ErrorReason.METHOD_NOT_FOUND,
    ],
    ["lucky.auth.v1.AuthService/WatchQrLogin", Buffer.alloc(0), ErrorReason.METHOD_NOT_FOUND],
    ["lucky.user.v1.UserService/GetUser", Buffer.of(0xff), ErrorReason.INVALID_ARGUMENT],
    ["lucky.user.v1.UserService/GetUser", Buffer.alloc(70_000), ErrorReason.INVALID_ARGUMENT],
    [
      "lucky.user.v1.UserService/BatchGetUsers",
      Buffer.alloc(0),
      ErrorReason.INVALID_ARGUMENT,
      "user_ids",
    ],
    [
      "lucky.user.v1.UserService/UpdateProfile",
      text(UserService.method.updateProfile.input.field.displayName.number, "a\u0007b"),
      ErrorReason.INVALID_ARGUMENT,
      "display_name",
    ],
    ["lucky.admin.v1.AdminService/ListAudit", Buffer.alloc(0), ErrorReason.PERMISSION_DENIED],
  ];
  const device = await RawDevice.hello(world.url, accessToken);
  for (const [method, request, reason, field = ""] of faults) {
    const callId = String(++calls);
    device.send({ case: "rpc", value: { callId, method, request } });
    const { outcome } = await device.next("rpcResult", (result) => result.callId === callId);
    assert.equal(outcome.case, "error", method);
    const overSocket = outcome.value.error;
    const response = await fetch(`${world.url}/${method}`, {
      method: "POST",
      headers: { "content-type": "application/proto", authorization: `Bearer ${accessToken}` },
      body: new Uint8Array(request),
    });
    const bytes = new Uint8Array(await response.arrayBuffer());
    const byRpc = detailOf(errorFromJsonBytes(bytes, undefined, new ConnectError("no error")));
    for (const detail of [overSocket, byRpc]) {
      assert.deepEqual(
        [method, detail?.reason, detail?.field, detail?.retryAfterMs],
        [method, reason, field, 0n],
      );
    }
  }
  await device.close();
});

test("a refused send names its field, on the socket and by RPC", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana-sends");
  const { accessToken } = await ana!.login();
  const device = await RawDevice.hello(world.url, accessToken);
  const messages = clientOf(world.url, MessageService, accessToken);
  const target = { case: "userId" as const, value: ana!.userId };
  const content = { kind: { case: "text" as const, value: { text: "hi" } } };
  const sends: [field: string, send: MessageInitShape<typeof SendRequestSchema>][] = [
    ["target", { clientMessageId: "f1", content }],
    ["user_id", { clientMessageId: "f2", content, target }],
    ["content", { clientMessageId: "f3", target }],
    [
      "content.text.text",
      { clientMessageId: "f4", target, content: { kind: { case: "text", value: { text: "" } } } },
    ],
  ];
  for (const [field, send] of sends) {
    device.send({ case: "send", value: create(SendRequestSchema, send) });
    const { results } = await device.next("sendResults");
    const outcome = results[0]?.outcome;
    assert.equal(outcome?.case, "refused");
    assert.equal(outcome.value.error?.reason, ErrorReason.INVALID_ARGUMENT);
    assert.equal(outcome.value.error?.field, field);
    const error = await messages.send(send).catch((thrown: unknown) => thrown);
    assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT);
    assert.equal(detailOf(error)?.field, field);
  }
  await device.close();
});

test("a send in JSON to a number that JSON.parse rounds is refused", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana-json");
  const { accessToken } = await ana!.login();
  const send = async (conversationId: string) => {
    const response = await fetch(`${world.url}/lucky.message.v1.MessageService/Send`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${accessToken}` },
      body: `{"conversationId":${conversationId},"clientMessageId":"j","content":{"text":{"text":"hi"}}}`,
    });
    const bytes = new Uint8Array(await response.arrayBuffer());
    const error = errorFromJsonBytes(bytes, undefined, new ConnectError("no error"));
    return [ErrorReason[reasonOf(error)], detailOf(error)?.field];
  };
  assert.deepEqual(await send("9007199254740993"), ["INVALID_ARGUMENT", "conversation_id"]);
  assert.deepEqual(await send("9007199254740991"), ["CONVERSATION_NOT_FOUND", ""]);
  assert.deepEqual(await send('"9007199254740993"'), ["CONVERSATION_NOT_FOUND", ""]);
});

test("guesses over sockets use the budget of the device's own address", {
  timeout: TIMEOUT,
}, async (t) => {
  const limitedWorld = await startWorld(t, {
    settings: {
      LUCKY_LIMITS_CREDENTIAL_PER_MINUTE: "6",
      LUCKY_GATEWAY_TRUSTED_PROXIES: "127.0.0.1",
    },
  });
  const [ana] = await people(limitedWorld, "ana");
  const { accessToken } = await ana!.login();
  const openFrom = async (address: string) => {
    const device = await RawDevice.open(limitedWorld.url, "/ws", { "x-forwarded-for": address });
    device.send({ case: "hello", value: { accessToken } });
    await device.next("welcome");
    return device;
  };
  const guess = (device: RawDevice) =>
    rpc(device, AuthService.method.loginBySmsCode, {
      phone: "+4915112345678",
      code: "000000",
      device: { deviceId: "guesser", deviceClass: DeviceClass.WEB },
    });

  const guesser = await openFrom("203.0.113.1");
  for (let at = 0; at < 6; at++) assert.equal(await guess(guesser), ErrorReason.SMS_CODE_INVALID);
  assert.equal(await guess(guesser), ErrorReason.RATE_LIMITED);
  const again = await openFrom("203.0.113.1");
  assert.equal(await guess(again), ErrorReason.RATE_LIMITED);
  const neighbour = await openFrom("203.0.113.2");
  t.after(() => neighbour.close());
  assert.equal(await guess(neighbour), ErrorReason.SMS_CODE_INVALID);
});

test("a large addition to a group uses up one budget of changes, by RPC and over sockets", {
  timeout: TIMEOUT,
}, async (t) => {
  const limitedWorld = await startWorld(t, { settings: { LUCKY_LIMITS_WRITE_PER_SECOND: "1" } });
  const { url } = limitedWorld;
  // A thousand points last a thousand seconds here, so no window ends during the test.
  const group = { name: "g", userIds: Array.from({ length: 1_000 }, (_, at) => String(at + 1)) };
  const change = { displayName: "Ana" };
  const atLeastMs = 500_000;
  for (const [address, name] of [
    [url, "ana"],
    [limitedWorld.connects.at(-1)!, "ben"],
  ] as const) {
    const [byRpc, bySocket] = await people(limitedWorld, `${name}-rpc`, `${name}-socket`);

    const rpcToken = (await byRpc!.login()).accessToken;
    const created = clientOf(url, GroupService, rpcToken).createGroup(group);
    await assert.rejects(created, (error) => reasonOf(error) === ErrorReason.USER_NOT_FOUND);
    const device = await RawDevice.hello(address, rpcToken);
    t.after(() => device.close());
    const { value: refused } = await outcomeOf(device, UserService.method.updateProfile, change);
    assert.ok(refused && "error" in refused);
    assert.equal(refused.error?.reason, ErrorReason.RATE_LIMITED);
    assert.ok(Number(refused.error?.retryAfterMs) > atLeastMs);

    const socketToken = (await bySocket!.login()).accessToken;
    const other = await RawDevice.hello(address, socketToken);
    t.after(() => other.close());
    const made = await rpc(other, GroupService.method.createGroup, group);
    assert.equal(made, ErrorReason.USER_NOT_FOUND);
    const changed = clientOf(url, UserService, socketToken).updateProfile(change);
    await assert.rejects(changed, (error) => {
      assert.equal(reasonOf(error), ErrorReason.RATE_LIMITED);
      assert.ok(Number(detailOf(error)?.retryAfterMs) > atLeastMs);
      return true;
    });
  }
});
