import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import pg from "pg";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { checkBackup } from "#platform/backup/read-backup.ts";
import { type ClientStore, MemoryStore } from "../client/store.ts";
import { type All, startAll } from "../services/all.ts";
import { backup } from "../services/backup.ts";
import { HELP, readCommand } from "../services/commands.ts";
import { restore } from "../services/restore.ts";
import { quiet } from "./backends/postgres.ts";
import { copyPostgresTemplate } from "./backends/postgres-template.ts";
import { clientOf, type Person, people, text } from "./world/people.ts";

const root = join(import.meta.dirname, "..");
const TIMEOUT = 120_000;
const folder = await mkdtemp(join(tmpdir(), "lucky-backup-"));
// PostgreSQL runs under another account when the test runs as root.
await chmod(folder, 0o711);
after(() => rm(folder, { recursive: true, force: true }));

const { signal } = new AbortController();
const old = join(folder, "old");
const taken = join(folder, "taken.backup");
const later = join(folder, "later.backup");

/** The settings of a data folder. */
function envOf(dataDir: string) {
  return { LUCKY_DATA_DIR: dataDir, LUCKY_LOG_LEVEL: "silent" };
}

function start(dataDir: string): Promise<All> {
  return startAll({
    env: {
      ...envOf(dataDir),
      LUCKY_GATEWAY_PORT: "0",
      LUCKY_CONNECT_PORT: "0",
      LUCKY_OPS_PORT: "0",
      LUCKY_AUTH_PASSWORD_KEY_BITS: "2048",
      LUCKY_AUTH_HASH_MEMORY_KIB: "8192",
      LUCKY_AUTH_HASH_ITERATIONS: "1",
    },
  });
}

/** Runs a command of `npm start`; returns its exit code and its output. */
function npmStart(dataDir: string, ...args: string[]) {
  const script = join(root, "services/all.ts");
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...envOf(dataDir) };
  return promisify(execFile)("node", ["--disable-warning=ExperimentalWarning", script, ...args], {
    cwd: root,
    env,
  }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  );
}

/** All entries of a conversation. */
async function entriesOf(all: All, accessToken: string, conversationId: string): Promise<Entry[]> {
  const messages = clientOf(all.url, MessageService, accessToken);
  const entries: Entry[] = [];
  for (let last = 1n; BigInt(entries.length) < last; ) {
    const position = { case: "afterSequence", value: BigInt(entries.length) } as const;
    const page = await messages.listEntries({ conversationId, position, pageSize: 500 });
    last = page.lastSequence;
    if (page.entries.length === 0) break;
    entries.push(...page.entries);
  }
  return entries;
}

/** Description of the old installation, for the installation that is restored from it. */
interface Past {
  readonly ana: Person;
  readonly ben: Person;
  readonly conversationId: string;
  /** Entries in the old log, in the order of their sequences. */
  readonly entries: readonly Entry[];
  readonly refreshToken: string;
  /** Epoch of the conversation. */
  readonly epoch: bigint;
  /** Store of a device of Ben that has received all entries. */
  readonly store: ClientStore;
}
const past = Promise.withResolvers<Past>();
past.promise.catch(() => {});

test("a backup is taken while messages are sent, and after Lucky was stopped", {
  timeout: TIMEOUT,
}, async () => {
  await mkdir(join(old, "postgres"), { recursive: true, mode: 0o711 });
  await chmod(old, 0o711);
  await copyPostgresTemplate(join(old, "postgres"), quiet);
  const all = await start(old);
  try {
    const [ana, ben] = (await people(all, "ana", "ben")) as [Person, Person];
    const { refreshToken } = await ben.login();
    const { client } = await ana.clientDevice();
    await client.connect();
    const { conversationId } = await client.send({ userId: ben.userId }, "first");
    let backedUp = false;
    const report = backup({ env: envOf(old), file: taken, signal }).finally(() => {
      backedUp = true;
    });
    for (let n = 0; !backedUp; n++)
      await Promise.all([1, 2, 3, 4].map((k) => client.send({ conversationId }, `${n} ${k}`)));
    assert.match(
      await report,
      /2 accounts, .* 1 conversations, .* entries\n\n.* key-encryption key/,
    );
    for (const text of ["after the backup", "lost too"])
      await client.send({ conversationId }, text);
    const store = new MemoryStore();
    const device = await ben.clientDevice({ history: "all", store });
    await device.client.connect();
    await device.until(() => device.texts().includes("lost too"));
    await ben.closeDevices();
    const { accessToken } = await ana.login();
    const entries = await entriesOf(all, accessToken, conversationId);
    await ana.closeDevices();
    const { conversations } = await clientOf(all.url, MessageService, accessToken).sync({});
    const { epoch } = conversations[0]!;
    past.resolve({ ana, ben, conversationId, entries, refreshToken, epoch, store });
  } finally {
    await all.stop();
  }
  await backup({ env: envOf(old), file: later, signal });
  const { footer } = await checkBackup(later);
  assert.equal(footer.rows["im.entry"], (await past.promise).entries.length);
  const files = await readdir(folder);
  assert.deepEqual(files.toSorted(), ["later.backup", "old", "taken.backup"]);
});

test("a restore without the right key, of a damaged backup, or over a database writes nothing", {
  timeout: TIMEOUT,
}, async () => {
  const target = join(folder, "untouched");
  const options = { env: envOf(target), file: taken, signal };
  await assert.rejects(restore(options), (error: Error) => {
    assert.ok(error.message.includes(join(target, "auth.key")));
    assert.ok(error.message.includes(`npm start -- restore ${taken} --key`));
    return true;
  });
  const otherKey = join(folder, "other.key");
  await writeFile(otherKey, Buffer.alloc(32, 1).toString("base64"));
  await assert.rejects(
    restore({ ...options, keyFile: otherKey }),
    /other\.key is not the key-encryption key of this backup/,
  );
  await assert.rejects(
    restore({ ...options, keyFile: join(folder, "missing.key") }),
    /missing\.key does not exist/,
  );
  const bytes = await readFile(taken);
  const keyFile = join(old, "auth.key");
  const damaged = join(folder, "damaged.backup");
  await writeFile(damaged, bytes.subarray(0, -100));
  await assert.rejects(restore({ ...options, file: damaged, keyFile }), /is truncated/);
  await assert.rejects(readdir(target), { code: "ENOENT" });

  await assert.rejects(
    restore({ env: envOf(old), file: taken, signal }),
    /already has a database\. Set LUCKY_DATA_DIR/,
  );
  const killed = join(folder, "killed");
  await mkdir(join(killed, "postgres.restoring"), { recursive: true });
  await assert.rejects(
    restore({ ...options, env: envOf(killed), keyFile }),
    /A restore into .*killed was killed\. Remove .*killed\/postgres\.restoring first/,
  );
  const foreign = { ...envOf(target), LUCKY_POSTGRES_URL: "postgresql://x/y" };
  await assert.rejects(restore({ ...options, env: foreign }), /PostgreSQL's own tools/);
  await assert.rejects(backup({ env: foreign, file: damaged, signal }), /PostgreSQL's own tools/);
  await assert.rejects(
    backup({ env: envOf(target), file: join(folder, "none"), signal }),
    /untouched has no database/,
  );
});

test("a restored installation has the log of the snapshot, without a gap, and continues it", {
  timeout: TIMEOUT,
}, async (t) => {
  const { ana, ben, conversationId, entries, refreshToken, epoch, store } = await past.promise;
  const target = join(folder, "new");
  const keyFile = join(folder, "copy.key");
  await copyFile(join(old, "auth.key"), keyFile);
  const options = { env: envOf(target), file: taken, keyFile, signal };
  const restoring = restore(options);
  let ended = false;
  void restoring
    .catch(() => {})
    .finally(() => {
      ended = true;
    });
  const files = () => readdir(target).catch((): string[] => []);
  while (!ended && !(await files()).includes("postgres.restoring"));
  // Neither a second restore nor a start can use the folder meanwhile.
  await assert.rejects(restore(options), /new\/postgres is in use by the running process/);
  await assert.rejects(start(target), /new\/postgres is in use by the running process/);
  assert.deepEqual((await files()).toSorted(), ["postgres", "postgres.restoring"]);
  assert.match(await restoring, /2 accounts/);
  assert.deepEqual((await files()).toSorted(), ["auth.key", "postgres"]);
  await assert.rejects(restore(options), /already has a database/);

  const all = await start(target);
  t.after(() => all.stop());
  const { tokens } = await clientOf(all.url, AuthService).refresh({ refreshToken });
  const restored = await entriesOf(all, tokens!.accessToken, conversationId);
  const { footer } = await checkBackup(taken);
  assert.equal(restored.length, footer.rows["im.entry"]);
  assert.ok(restored.length < entries.length);
  assert.deepEqual(restored, entries.slice(0, restored.length));

  const [a, b] = await Promise.all([ana, ben].map((person) => deviceOf(person, all)));
  const sent = await clientOf(all.url, MessageService, a!).send({
    target: { case: "conversationId", value: conversationId },
    clientMessageId: "after",
    content: text("after the restore"),
  });
  assert.equal(sent.accepted?.sequence, BigInt(restored.length + 1));
  // The device has more entries of the old log than the new one has, and repeats its cursor of them.
  const asBen = clientOf(all.url, MessageService, b!);
  const readSequence = BigInt(entries.length);
  await asBen.acknowledge({ cursors: [{ conversationId, readSequence, epoch }] });
  const [synced] = (await asBen.sync({})).conversations;
  assert.equal(synced!.lastSequence, BigInt(restored.length + 1));
  assert.ok(synced!.epoch > epoch);
  assert.ok(synced!.readSequence < synced!.lastSequence && synced!.unreadCount > 0n);

  // The client with the store of the old log shows the new one: all of it, nothing twice.
  const device = await ben.at(all).clientDevice({ store });
  t.after(() => device.client.close());
  await device.client.connect();
  await device.until(() => device.texts().includes("after the restore"));
  assert.deepEqual(
    device.sequences(conversationId),
    Array.from({ length: restored.length + 1 }, (_, at) => at + 1),
  );

  // A damaged log is backed up, but only an operator who accepts the damage can restore it.
  const client = new pg.Client(all.postgresUrl);
  await client.connect();
  await client.query("DELETE FROM im.entry WHERE sequence = 2");
  await client.end();
  const file = join(folder, "rest.backup");
  const damage = `conversation ${conversationId}: lacks 1 of ${sent.accepted?.sequence} entries: 2\n`;
  await assert.rejects(
    backup({ env: envOf(target), file, signal }),
    ({ message }: Error) => message.includes(damage) && message.includes(`Backup:    ${file} (`),
  );
  const again = {
    env: envOf(join(folder, "rest")),
    file,
    keyFile: join(folder, "other.key"),
    signal,
  };
  await assert.rejects(
    restore(again),
    ({ message }: Error) =>
      message.includes(damage) && /is of a damaged log.*--damaged/s.test(message),
  );
  await assert.rejects(restore({ ...again, damaged: true }), /other\.key is not the key/);
});

/** The access token of a new login in another installation. */
async function deviceOf(person: Person, all: All): Promise<string> {
  return (await person.at(all).login()).accessToken;
}

test("npm start explains its commands, and fails with other arguments", {
  timeout: TIMEOUT,
}, async () => {
  assert.deepEqual(readCommand([]), { name: "start" });
  assert.deepEqual(readCommand(["-h"]), { name: "help" });
  assert.deepEqual(readCommand(["backup", "a"]), { name: "backup", file: "a" });
  const restoring = { name: "restore", file: "a", keyFile: "k", damaged: false };
  assert.deepEqual(readCommand(["restore", "a", "--key", "k"]), restoring);
  const damaged = { name: "restore", file: "a", keyFile: undefined, damaged: true };
  assert.deepEqual(readCommand(["restore", "a", "--damaged"]), damaged);
  const wrong =
    "backup|--damaged|backup a --damaged|restore a b|backup a --key k|--keys|--key k|a|restore a --key";
  for (const args of wrong.split("|"))
    assert.throws(
      () => readCommand(args.split(" ")),
      ({ message }: Error) => message.endsWith(HELP),
      args,
    );
  const dataDir = join(folder, "unused");
  const [help, failed] = await Promise.all([
    npmStart(dataDir, "--help"),
    npmStart(dataDir, "restore", join(folder, "damaged.backup")),
  ]);
  assert.deepEqual([help.code, help.stdout], [0, `${HELP}\n`]);
  assert.deepEqual([failed.code, failed.stdout], [1, ""]);
  assert.match(failed.stderr, /^The backup .*damaged\.backup is truncated.*\n$/);
});
