import assert from "node:assert/strict";
import { after, test } from "node:test";
import { AdminService, Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { LuckyError } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, type Person, people, proofBy, text } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });
const [root] = await people(world, "root");
await world.pool.query("UPDATE auth.account SET role = 'admin' WHERE user_id = $1", [root!.userId]);
const rootTokens = await root!.login();
const admin = clientOf(world.url, AdminService, rootTokens.accessToken);
const proof = proofBy(rootTokens);

const because = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[LuckyError.from(error).reason], ErrorReason[reason]);
  return true;
};

/** Opens sockets of a person, one on each connect instance. */
async function sockets(person: Person): Promise<RawDevice[]> {
  const opened: RawDevice[] = [];
  for (const connect of world.connects.slice(0, 3))
    opened.push(await RawDevice.hello(connect, (await person.login()).accessToken));
  return opened;
}

/**
 * Runs `work`, then waits until all sockets are closed as revoked; asserts that this takes less
 * than a second.
 */
async function closedBy(devices: readonly RawDevice[], work: () => Promise<unknown>) {
  await work();
  const doneAt = performance.now();
  const closed = await Promise.all(devices.map((device) => device.closed));
  const ms = performance.now() - doneAt;
  assert.ok(ms < 1_000, `closed after ${ms.toFixed(0)} ms`);
  for (const { code } of closed) assert.equal(code, CloseCode.TOKEN_REVOKED);
}

test("disabling an account, ending its logins or changing its role closes its sockets within a second", {
  timeout: TIMEOUT,
}, async () => {
  const [ana] = await people(world, "ana");
  const { userId } = ana!;
  await closedBy(await sockets(ana!), () => admin.forceLogout({ userId }));
  const role = Role.OPERATOR;
  await closedBy(await sockets(ana!), () => admin.grantRole({ userId, role, proof }));
  await closedBy(await sockets(ana!), () => admin.disableAccount({ userId }));
});

test("tokens and password of a disabled account are refused", { timeout: TIMEOUT }, async () => {
  const [ana] = await people(world, "ana");
  const tokens = await ana!.login();
  const socket = await RawDevice.hello(world.url, tokens.accessToken);
  await closedBy([socket], () => admin.disableAccount({ userId: ana!.userId }));
  const auth = clientOf(world.url, AuthService);
  const { refreshToken } = tokens;
  await assert.rejects(auth.refresh({ refreshToken }), because(ErrorReason.REFRESH_TOKEN_INVALID));
  const again = await RawDevice.open(world.connects[0]!);
  again.send({ case: "hello", value: { accessToken: tokens.accessToken } });
  assert.equal((await again.closed).code, CloseCode.TOKEN_REVOKED);
  await assert.rejects(ana!.login(), because(ErrorReason.ACCOUNT_DISABLED));
});

test("the messages of a deleted account stay and show a deleted user as sender", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben] = await people(world, "ana", "ben");
  const tokens = await ana!.login();
  const asAna = clientOf(world.url, MessageService, tokens.accessToken);
  const { accepted } = await asAna.send({
    target: { case: "userId", value: ben!.userId },
    clientMessageId: "last",
    content: text("keep this"),
  });
  const { conversationId } = accepted!;
  const auth = clientOf(world.url, AuthService, tokens.accessToken);
  const password = await sealPassword(await auth.getPublicKey({}), "a passphrase for stories");
  const open = await sockets(ana!);
  await closedBy(open, () => auth.deleteAccount({ password }));

  const { accessToken } = await ben!.login();
  const asBen = clientOf(world.url, MessageService, accessToken);
  const position = { case: "afterSequence", value: 0n } as const;
  const { entries } = await asBen.listEntries({ conversationId, position });
  assert.deepEqual(
    entries.map(({ senderId }) => senderId),
    [ana!.userId],
  );
  const users = clientOf(world.url, UserService, accessToken);
  const { user } = await users.getUser({ key: { case: "userId", value: ana!.userId } });
  assert.deepEqual(
    [user?.deleted, user?.userName, user?.displayName],
    [true, `deleted-${ana!.userId}`, "Deleted user"],
  );
  const byName = users.getUser({ key: { case: "userName", value: ana!.userName } });
  await assert.rejects(byName, because(ErrorReason.USER_NOT_FOUND));
  const query = { case: "userNamePrefix", value: ana!.userName } as const;
  assert.deepEqual((await users.searchUsers({ query })).users, []);
  await assert.rejects(ana!.login(), because(ErrorReason.CREDENTIALS_INVALID));
});

test("an account is deleted over every transport, and only with the right password", {
  timeout: TIMEOUT,
}, async (t) => {
  for (const n of [0, 1, 2]) {
    const [ana] = await people(world, "ana");
    const transport = (await callTransports(t, world, ana!))[n]!;
    const auth = transport.client(AuthService);
    const seal = async (text: string) => sealPassword(await auth.getPublicKey({}), text);
    await assert.rejects(auth.deleteAccount({}), because(ErrorReason.CREDENTIALS_INVALID));
    const wrong = auth.deleteAccount({ password: await seal("not the password") });
    await assert.rejects(wrong, because(ErrorReason.CREDENTIALS_INVALID));
    const password = await seal("a passphrase for stories");
    await auth.deleteAccount({ password }).catch((error: unknown) => {
      // Race: the server may close the socket before the answer is sent on it.
      if (transport.name !== "the socket") throw error;
    });
    await assert.rejects(ana!.login(), because(ErrorReason.CREDENTIALS_INVALID), transport.name);
  }
});

test("a user whose account is disabled or deleted gets no message, also in an existing conversation, and is added to no group", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben, cai] = await people(world, "ana", "ben", "cai");
  t.after(() => cai!.closeDevices());
  const { accessToken } = await ben!.login();
  const asBen = clientOf(world.url, MessageService, accessToken);
  const groups = clientOf(world.url, GroupService, accessToken);
  const device = await cai!.clientDevice();
  await device.client.connect();
  let nr = 0;
  const byRpc = () => {
    const target = { case: "userId", value: ana!.userId } as const;
    return asBen.send({ target, clientMessageId: `m${++nr}`, content: text("hi") });
  };
  const bySocket = () => device.client.send({ userId: ana!.userId }, "hi");
  for (const send of [byRpc, bySocket]) await send();

  /** Sends until the send is refused, or accepted. */
  const until = async (send: () => Promise<unknown>, wanted: ErrorReason | undefined) => {
    for (;;) {
      const reason = await send().then(
        () => undefined,
        (error: unknown) => LuckyError.from(error).reason,
      );
      if (reason === wanted) return;
      assert.ok(reason === undefined || wanted === undefined, ErrorReason[reason ?? 0]);
      await world.clock.advance(1_000);
    }
  };
  const refusedEverywhere = async (reason: ErrorReason) => {
    for (const send of [byRpc, bySocket]) await until(send, reason);
    const adding = () => groups.createGroup({ name: "g", userIds: [cai!.userId, ana!.userId] });
    await until(adding, reason);
  };
  await admin.disableAccount({ userId: ana!.userId });
  await refusedEverywhere(ErrorReason.ACCOUNT_DISABLED);
  await admin.enableAccount({ userId: ana!.userId });
  for (const send of [byRpc, bySocket]) await until(send, undefined);

  const auth = clientOf(world.url, AuthService, (await ana!.login()).accessToken);
  const password = await sealPassword(await auth.getPublicKey({}), "a passphrase for stories");
  await auth.deleteAccount({ password });
  await refusedEverywhere(ErrorReason.USER_NOT_FOUND);
});
