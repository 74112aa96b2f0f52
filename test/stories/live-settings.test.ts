import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { AuthService, SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { OperationsService, SettingSource } from "#gen/lucky/operations/v1/operations_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { LuckyError } from "../../client/error.ts";
import { sealPassword } from "../../client/login/password.ts";
import { userWithRole } from "../attack/access-world.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people } from "../world/people.ts";
import { startWorld } from "../world/world.ts";

const TIMEOUT = 240_000;
const folder = mkdtempSync(join(tmpdir(), "lucky-live-"));
after(() => rmSync(folder, { recursive: true }));
const path = join(folder, "settings.yaml");
const write = (settings: unknown) => writeFileSync(path, JSON.stringify(settings));
write({ limits: { searchPerMinute: 100_000 } });
const world = await startWorld(
  { after },
  { settings: { LUCKY_SETTINGS_FILE: path, LUCKY_LIMITS_READ_PER_SECOND: "" } },
);
const operator = await userWithRole(world, "operator");
const operations = clientOf(world.url, OperationsService, await operator.login());
const embedded = world.mode === "embedded";
const SERVICES = embedded
  ? ["all"]
  : ["auth", "connect", "connect", "connect", "gateway", "server", "server"];

const reasonOf = (call: Promise<unknown>) =>
  call.then(
    () => "ok",
    (error: unknown) => ErrorReason[LuckyError.from(error).reason],
  );

/** Writes the file, and resolves when all processes have applied or refused it. */
async function publish(settings: unknown) {
  const before = await operations.getSettings({});
  const seen = new Map(before.processes.map(({ instanceId, file }) => [instanceId, stampOf(file)]));
  write(settings);
  for (;;) {
    const { processes } = await operations.getSettings({});
    if (processes.every(({ instanceId, file }) => stampOf(file) !== seen.get(instanceId)))
      return processes;
  }
}
const stampOf = (file?: { readAtMs: bigint; refusedAtMs: bigint }) =>
  `${file?.readAtMs} ${file?.refusedAtMs}`;

test("every process returns its settings and their sources", {
  timeout: TIMEOUT,
}, async () => {
  const { processes } = await operations.getSettings({});
  assert.deepEqual(
    processes.map(({ service, failure }) => [service, failure]),
    SERVICES.map((service) => [service, ""]),
  );
  for (const { file, settings } of processes) {
    assert.equal(file?.path, path);
    assert.deepEqual([file?.refusedAtMs, file?.faults], [0n, []]);
    const of = (name: string) => settings.find((setting) => setting.name === name);
    const search = of("limits.searchPerMinute");
    assert.deepEqual([search?.value, search?.live, search?.location], ["100000", true, path]);
    assert.equal(search?.source, SettingSource.FILE);
    assert.equal(of("logLevel")?.location, "LUCKY_LOG_LEVEL");
    assert.equal(of("limits.credentialPerMinute")?.source, SettingSource.ENVIRONMENT);
    assert.equal(of("rabbitmqQuorum")?.source, SettingSource.DEFAULT);
  }
  const auth = await operations.getSettings({ service: "auth" });
  assert.deepEqual(
    auth.processes.map(({ service }) => service),
    [embedded ? "all" : "auth"],
  );
  const url = auth.processes[0]!.settings.find(({ name }) => name === "auth.postgresUrl");
  assert.equal(url?.value, "***");
  const { instanceId } = processes[0]!;
  const one = await operations.getSettings({ instanceId });
  assert.deepEqual(
    one.processes.map((process) => process.instanceId),
    [instanceId],
  );
});

test("a change of the file takes effect in every service without a restart", {
  timeout: TIMEOUT,
}, async () => {
  const [ana, ben, eve] = await people(world, "ana", "ben", "eve");
  const { accessToken } = await ana!.login();
  const users = clientOf(world.url, UserService, accessToken);
  const groups = clientOf(world.url, GroupService, accessToken);
  const auth = clientOf(world.url, AuthService);
  const register = async (password: string) =>
    auth.register({
      userName: `u-${randomUUID().slice(0, 8)}`,
      password: await sealPassword(await auth.getPublicKey({}), password),
    });
  const searchTwice = async () => {
    const search = () =>
      users.searchUsers({ query: { case: "userNamePrefix", value: ana!.userName } });
    await reasonOf(search());
    return reasonOf(search());
  };
  let codes = 0;
  const sendCode = () =>
    reasonOf(auth.sendSmsCode({ phone: `+491511234567${codes++}`, purpose: SmsPurpose.LOGIN }));
  const createGroup = () =>
    reasonOf(groups.createGroup({ name: "g", userIds: [ben!.userId, eve!.userId] }));
  const docs = async () => (await fetch(`${world.url}/docs`)).status;
  const hello = async () => {
    const device = await RawDevice.open(world.url);
    device.send({ case: "hello", value: { accessToken } });
    const opened = device.next("welcome").then(() => 0);
    return Promise.race([opened, device.closed.then(({ code }) => code)]);
  };
  const all = async () => [
    await searchTwice(),
    await reasonOf(register("short pass")),
    await sendCode(),
    await createGroup(),
    await docs(),
    await hello(),
  ];

  assert.deepEqual(await all(), ["ok", "ok", "ok", "ok", 200, 0]);
  await publish({
    limits: { searchPerMinute: 1 },
    auth: { passwordMinLength: 30, smsCountries: ["+33"] },
    server: { maxGroupMembers: 2 },
    gateway: { docs: false },
    connect: { minProtocolRevision: 1_000 },
  });
  assert.deepEqual(await all(), [
    "RATE_LIMITED",
    "PASSWORD_WEAK",
    "PHONE_INVALID",
    "GROUP_FULL",
    404,
    CloseCode.CLIENT_TOO_OLD,
  ]);
  await publish({});
  assert.deepEqual(await all(), ["ok", "ok", "ok", "ok", 200, 0]);
});

test("a bad file is refused as a whole by the processes that it is for, and the settings stay", {
  timeout: TIMEOUT,
}, async () => {
  await publish({ limits: { searchPerMinute: 7 } });
  const processes = await publish({
    limits: { searchPerMinute: 8, searchesPerMinute: 8 },
    connect: { maxFrameBytes: 2_048 },
  });
  for (const { service, settings, file } of processes) {
    const search = settings.find(({ name }) => name === "limits.searchPerMinute");
    assert.equal(search?.value, "7", service);
    const unknown = `${path}: limits.searchesPerMinute is unknown: did you mean limits.searchPerMinute?`;
    const frames = `${path}: connect.maxFrameBytes is changed, which needs a restart of the process`;
    const hasConnect = service === "connect" || service === "all";
    assert.deepEqual(file?.faults, hasConnect ? [unknown, frames] : [unknown], service);
  }
});

if (!embedded)
  test("a process that does not answer is listed with the reason", {
    timeout: TIMEOUT,
  }, async () => {
    const stopped = world.mesh.process("connect-2");
    await stopped.kill("SIGSTOP");
    const { processes } = await operations.getSettings({ service: "connect" });
    await stopped.kill("SIGCONT");
    assert.deepEqual(
      processes.map(({ instanceId, failure }) => [instanceId, failure !== ""]),
      [
        ["connect-0", false],
        ["connect-1", false],
        ["connect-2", true],
      ],
    );
    assert.match(processes[2]!.failure, /deadline_exceeded/);
  });
