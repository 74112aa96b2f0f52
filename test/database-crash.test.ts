import assert from "node:assert/strict";
import { closeSync } from "node:fs";
import { chmod, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { detailOf } from "#platform/errors.ts";
import { lockFile } from "#platform/postgres/embedded/file-lock.ts";
import { startAll } from "../services/all.ts";
import { clientOf, people, text } from "./world/people.ts";

const TIMEOUT = 120_000;
const MESSAGES = 400;

const dataDir = await mkdtemp(join(tmpdir(), "lucky-database-crash-"));
// PostgreSQL runs under another account when the test runs as root.
await chmod(dataDir, 0o711);
const cluster = join(dataDir, "postgres/cluster");
const ports = { LUCKY_GATEWAY_PORT: "0", LUCKY_CONNECT_PORT: "0", LUCKY_OPS_PORT: "0" };
const all = await startAll({
  env: { LUCKY_LOG_LEVEL: "silent", LUCKY_DATA_DIR: dataDir, ...ports },
});
after(async () => {
  await all.stop();
  await rm(dataDir, { recursive: true, force: true });
});

async function killDatabase(): Promise<void> {
  const pid = Number.parseInt(await readFile(join(cluster, "postmaster.pid"), "utf8"), 10);
  process.kill(pid, "SIGKILL");
}

test("while PostgreSQL is killed and restarted, no message is lost or duplicated", {
  timeout: TIMEOUT,
}, async (t) => {
  const [ana, ben] = await people(all, "ana", "ben");
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  await Promise.all([a.client.connect(), b.client.connect()]);
  const { conversationId } = await a.client.send({ userId: ben!.userId }, "0");
  const send = (n: number) => a.client.send({ conversationId }, `${n}`);
  const sending = Array.from({ length: MESSAGES / 2 }, (_, n) => send(n + 1));
  await b.until(() => b.texts().length > 20);
  await killDatabase();
  for (let n = MESSAGES / 2; n < MESSAGES; n++) sending.push(send(n + 1));
  const accepted = await Promise.all(sending);
  assert.deepEqual(
    accepted.map(({ sequence }) => Number(sequence)),
    Array.from({ length: MESSAGES }, (_, n) => n + 2),
  );
  await b.until(() => b.texts().length > MESSAGES);
  assert.deepEqual(
    b.texts(conversationId),
    Array.from({ length: MESSAGES + 1 }, (_, n) => `${n}`),
  );
});

test("sends fail with UNAVAILABLE while PostgreSQL cannot be restarted, and are stored after it", {
  timeout: TIMEOUT,
}, async (t) => {
  const [cai, dan] = await people(all, "cai", "dan");
  const asCai = clientOf(all.url, MessageService, (await cai!.login()).accessToken);
  const c = await cai!.clientDevice();
  t.after(() => cai!.closeDevices());
  await c.client.connect();
  const request = (clientMessageId: string) => ({
    target: { case: "userId", value: dan!.userId } as const,
    clientMessageId,
    content: text(clientMessageId),
  });
  const before = await asCai.send(request("before"));

  // PostgreSQL does not start without this file, nor while another process holds its lock.
  const version = join(cluster, "PG_VERSION");
  await rename(version, `${version}.away`);
  await killDatabase();
  const lock = await lockFile(join(dataDir, "postgres/cluster.lock"), { waitMs: 30_000 });
  assert.ok(lock !== undefined, "PostgreSQL still runs");
  await assert.rejects(asCai.send(request("during")), (error) => {
    const detail = detailOf(error);
    return detail?.reason === ErrorReason.UNAVAILABLE && detail.retryAfterMs > 0n;
  });
  // The client's queue retries it.
  const queued = c.client.send({ userId: dan!.userId }, "queued");
  await rename(`${version}.away`, version);
  closeSync(lock);

  assert.equal((await queued).sequence, before.accepted!.sequence + 1n);
  const during = await asCai.send(request("during"));
  assert.equal(during.accepted!.sequence, before.accepted!.sequence + 2n);
  assert.deepEqual((await asCai.send(request("before"))).accepted, before.accepted);
});
