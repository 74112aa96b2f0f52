import assert from "node:assert/strict";
import { after, test } from "node:test";
import { toJsonString } from "@bufbuild/protobuf";
import { AccountState, AdminService, AuditAction, Role } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import {
  DeliveryState,
  OperationsService,
  TraceMessageResponseSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import { LuckyError } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { clientOf, type Person, people, proofBy } from "../world/people.ts";
import { callTransports } from "../world/transports.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 120_000;
const world = await startWorld({ after });

/** Registers a person with a role. */
async function personWithRole(name: string, role = "user"): Promise<Person> {
  const [person] = await people(world, name);
  const sql = "UPDATE auth.account SET role = $2 WHERE user_id = $1";
  await world.pool.query(sql, [person!.userId, role]);
  return person!;
}
/** AdminService as the person, with the proof of a login. */
const adminOf = async (person: Person) => {
  const tokens = await person.login();
  const client = clientOf(world.url, AdminService, tokens.accessToken);
  return Object.assign(client, { proof: proofBy(tokens) });
};
const because = (reason: ErrorReason) => (error: unknown) => {
  assert.equal(ErrorReason[LuckyError.from(error).reason], ErrorReason[reason]);
  return true;
};

test("an operator manages an account over every transport", {
  timeout: TIMEOUT,
}, async (t) => {
  const operator = await personWithRole("operator", "operator");
  const root = await adminOf(await personWithRole("root", "admin"));
  for (const transport of await callTransports(t, world, operator)) {
    const ana = await personWithRole("ana");
    await ana.login({ deviceId: "tablet" });
    const { userId } = ana;
    const admin = transport.client(AdminService);
    const query = { case: "userNamePrefix", value: ana.userName.toUpperCase() } as const;
    const found = await admin.findAccounts({ query });
    assert.equal(found.accounts.length, 1, transport.name);
    const [account] = found.accounts;
    assert.equal(account?.user?.userId, userId);
    assert.deepEqual([account?.role, account?.state], [Role.USER, AccountState.ACTIVE]);
    assert.equal(account?.loggedInDevices, 1);
    assert.ok(account!.lastSeenAtMs > 0n);

    const out = await admin.forceLogout({ userId, reason: "lost tablet" });
    assert.equal(out.account?.loggedInDevices, 0);
    const disabled = await admin.disableAccount({ userId, reason: "spam" });
    assert.equal(disabled.account?.state, AccountState.DISABLED);
    await assert.rejects(ana.login(), because(ErrorReason.ACCOUNT_DISABLED));
    await admin.enableAccount({ userId });
    await ana.login();

    const { entries } = await root.listAudit({ userId });
    assert.deepEqual(
      entries.map(({ action, reason }) => [AuditAction[action], reason]),
      [
        ["ACCOUNT_ENABLED", ""],
        ["ACCOUNT_DISABLED", "spam"],
        ["LOGGED_OUT", "lost tablet"],
      ],
      transport.name,
    );
    assert.ok(entries.every(({ actorId }) => actorId === operator.userId));
    assert.ok(entries.every(({ coarseAddress }) => coarseAddress === "127.0.0.0/24"));
  }
});

test("an operator's rights begin and end with the role", {
  timeout: TIMEOUT,
}, async () => {
  const root = await adminOf(await personWithRole("root", "admin"));
  const ben = await personWithRole("ben");
  const [ana] = await people(world, "ana");
  const { userId } = ana!;
  const before = await adminOf(ben);
  await assert.rejects(before.disableAccount({ userId }), because(ErrorReason.PERMISSION_DENIED));
  const { proof } = root;
  await root.grantRole({ userId: ben.userId, role: Role.OPERATOR, reason: "night shift", proof });
  const during = await adminOf(ben);
  await during.disableAccount({ userId });
  await root.grantRole({ userId: ben.userId, role: Role.USER, proof });
  // This holds even before the gateway learns that the login has ended.
  await assert.rejects(during.enableAccount({ userId }), (error) =>
    [ErrorReason.PERMISSION_DENIED, ErrorReason.TOKEN_REVOKED].includes(
      LuckyError.from(error).reason,
    ),
  );
  await assert.rejects(ana!.login(), because(ErrorReason.ACCOUNT_DISABLED));
});

test("an operator cannot act on operators or administrators", { timeout: TIMEOUT }, async () => {
  const operator = await personWithRole("operator", "operator");
  const others = [
    await personWithRole("operator", "operator"),
    await personWithRole("root", "admin"),
  ];
  const admin = await adminOf(operator);
  for (const { userId } of others)
    for (const call of [
      () => admin.disableAccount({ userId }),
      () => admin.forceLogout({ userId }),
      () => admin.grantRole({ userId, role: Role.USER }),
    ])
      await assert.rejects(call(), because(ErrorReason.PERMISSION_DENIED));
});

test("an administrator sets a new password for a locked account", {
  timeout: TIMEOUT,
}, async () => {
  const root = await adminOf(await personWithRole("root", "admin"));
  const ana = await personWithRole("ana");
  const auth = clientOf(world.url, AuthService);
  const seal = async (text: string) => sealPassword(await auth.getPublicKey({}), text);
  const device = { deviceId: "phone", deviceClass: DeviceClass.MOBILE };
  const login = async (text: string) =>
    auth.login({ userName: ana.userName, password: await seal(text), device });
  const old = "a passphrase for stories";
  for (let n = 0; n < 5; n++)
    await assert.rejects(login("wrong"), because(ErrorReason.CREDENTIALS_INVALID));
  await assert.rejects(login(old), because(ErrorReason.ACCOUNT_LOCKED));
  const newPassword = await seal("zebra lantern quartz");
  const request = { userId: ana.userId, newPassword, reason: "showed a passport" };
  await assert.rejects(root.setPassword(request), because(ErrorReason.PROOF_REQUIRED));
  await root.setPassword({
    ...request,
    newPassword: await seal("zebra lantern quartz"),
    proof: root.proof,
  });
  await assert.rejects(login(old), because(ErrorReason.CREDENTIALS_INVALID));
  const { user } = await login("zebra lantern quartz");
  assert.equal(user?.userId, ana.userId);
});

test("the database refuses updates and deletes of audit rows", { timeout: TIMEOUT }, async () => {
  for (const sql of ["UPDATE auth.audit SET reason = ''", "DELETE FROM auth.audit"])
    await assert.rejects(world.pool.query(sql), /append-only/);
});

test("an operator follows a message from its acceptance to the acknowledgement of a device", {
  timeout: TIMEOUT,
}, async (t) => {
  const operator = await personWithRole("operator", "operator");
  const { accessToken } = await operator.login();
  const operations = clientOf(world.url, OperationsService, accessToken);
  const [ana, ben] = await people(world, "ana", "ben");
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId, sequence } = await a.client.send({ userId: ben!.userId }, "hello");
  await b.until(() => b.texts().includes("hello"));
  const trace = () => operations.traceMessage({ conversationId, sequence, reason: "a report" });
  let seen = await trace();
  const sessionsOfBen = () =>
    seen.instances.flatMap(({ sessions }) => sessions).filter((one) => one.userId === ben!.userId);
  // The bus confirms, and the cursor is stored, after the device shows the text.
  while (seen.deliveredCount < 1 || seen.publication?.batchId !== "0") seen = await trace();
  assert.equal(seen.entry?.senderId, ana!.userId);
  assert.equal(seen.entry?.kind, "text");
  assert.doesNotMatch(toJsonString(TraceMessageResponseSchema, seen), /hello/);
  assert.deepEqual(
    sessionsOfBen().map(({ state }) => DeliveryState[state]),
    ["ACKNOWLEDGED"],
  );
  assert.ok(seen.instances.every(({ failure }) => failure === ""));
  assert.deepEqual((await operations.listFailedBatches({})).batches, []);
  assert.equal((await operations.replayFailedBatches({ reason: "drill" })).replayed, 0);
  const root = await adminOf(await personWithRole("root", "admin"));
  const { entries } = await root.listAudit({ actorId: operator.userId });
  const actions = entries.map(({ action, reason }) => `${AuditAction[action]}: ${reason}`);
  assert.deepEqual(
    new Set(actions),
    new Set(["BATCHES_REPLAYED: drill", "MESSAGE_TRACED: a report"]),
  );
  const asAna = clientOf(world.url, OperationsService, (await ana!.login()).accessToken);
  await assert.rejects(
    asAna.traceMessage({ conversationId, sequence }),
    because(ErrorReason.PERMISSION_DENIED),
  );
});
