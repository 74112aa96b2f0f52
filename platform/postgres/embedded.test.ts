import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, realpath, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import pg from "pg";
import { quiet } from "../../test/backends/postgres.ts";
import { holdFolder } from "./embedded/held-folder.ts";
import { commandOf } from "./embedded/leftover.ts";
import { type EmbeddedPostgres, startEmbedded } from "./embedded.ts";

interface Folder {
  dataDir: string;
  start(options?: { port?: number; reservedPorts?: number[] }): Promise<EmbeddedPostgres>;
}

/**
 * A folder for one test. After the test, every PostgreSQL on it is stopped and the folder removed.
 */
async function makeFolder(t: TestContext, name = "postgres"): Promise<Folder> {
  const parent = await realpath(await mkdtemp(join(tmpdir(), "lucky-embedded-")));
  await chmod(parent, 0o711);
  const started: EmbeddedPostgres[] = [];
  t.after(async () => {
    for (const postgres of started) await postgres.stop();
    await rm(parent, { recursive: true, force: true });
  });
  const dataDir = join(parent, name);
  return {
    dataDir,
    async start(options = {}) {
      const settings = { fsync: "off", io_method: "sync", shared_buffers: "16MB" };
      const postgres = await startEmbedded({ dataDir, log: quiet, settings, ...options });
      started.push(postgres);
      return postgres;
    },
  };
}

async function ask(url: string, sql: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query({ text: sql, rowMode: "array" });
    return String(rows[0]?.[0]);
  } finally {
    await client.end();
  }
}

/** Starts PostgreSQL in a child process, and resolves with its URL, or with why it did not start. */
async function startElsewhere(
  t: TestContext,
  dataDir: string,
): Promise<{ child: ChildProcess; line: string }> {
  const program = `
    import { startEmbedded } from ${JSON.stringify(new URL("embedded.ts", import.meta.url).href)};
    import { createLog } from ${JSON.stringify(new URL("../log.ts", import.meta.url).href)};
    const log = createLog({ service: "test", instanceId: "other", level: "silent" });
    const settings = { fsync: "off", io_method: "sync", shared_buffers: "16MB" };
    await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, log, settings })
      .then(({ url }) => console.log(url), ({ message }) => console.log(message));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return { child, line };
}

async function postmaster(dataDir: string): Promise<number> {
  return Number.parseInt(await readFile(join(dataDir, "cluster", "postmaster.pid"), "utf8"), 10);
}

test("data is still there after a restart, which takes less than 5 s", async (t) => {
  // The name of the folder may have any characters but line breaks.
  const folder = await makeFolder(t, ` it's, "my" =näme\\ 數據%20 `);
  const first = await folder.start();
  await ask(first.url, "CREATE TABLE note AS SELECT 'kept' AS text");
  await first.stop();
  const from = performance.now();
  const second = await folder.start();
  assert.ok(performance.now() - from < 5_000);
  assert.notEqual(second.socketUrl, second.url);
  assert.equal(await ask(second.socketUrl, "SELECT text FROM note"), "kept");
});

test("PostgreSQL is durable, uses UTC and UTF-8, and listens on 127.0.0.1 only", async (t) => {
  const parent = await makeFolder(t);
  const postgres = await startEmbedded({ dataDir: parent.dataDir, log: quiet });
  t.after(() => postgres.stop());
  const expected: Record<string, string> = {
    fsync: "on",
    synchronous_commit: "on",
    full_page_writes: "on",
    listen_addresses: "127.0.0.1",
    unix_socket_directories: `"${join(parent.dataDir, "socket")}"`,
    timezone: "UTC",
    server_encoding: "UTF8",
  };
  for (const [name, value] of Object.entries(expected))
    assert.equal(await ask(postgres.url, `SHOW ${name}`), value, name);
  assert.equal(await ask(postgres.socketUrl, "SELECT inet_server_addr() IS NULL"), "true");
  await postgres.stop();
});

test("the password is random, stored with mode 0600, and required", async (t) => {
  const folder = await makeFolder(t);
  const { url } = await folder.start();
  const file = join(folder.dataDir, "password");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal(new URL(url).password, await readFile(file, "utf8"));
  const wrong = new URL(url);
  wrong.password = "wrong";
  await assert.rejects(ask(wrong.href, "SELECT 1"), /password authentication failed/);
});

test("a PostgreSQL that a killed process left running is stopped first", async (t) => {
  const folder = await makeFolder(t);
  const { child } = await startElsewhere(t, folder.dataDir);
  const left = await postmaster(folder.dataDir);
  child.kill("SIGKILL");
  await once(child, "close");
  assert.ok(await commandOf(left));
  const { url } = await folder.start();
  assert.notEqual(await postmaster(folder.dataDir), left);
  assert.equal(await commandOf(left), undefined);
  assert.equal(await ask(url, "SELECT 1"), "1");
});

test("a folder that a live process uses is refused, and its PostgreSQL keeps running", async (t) => {
  const folder = await makeFolder(t);
  const { child } = await startElsewhere(t, folder.dataDir);
  const running = await postmaster(folder.dataDir);
  await assert.rejects(folder.start(), new RegExp(`in use by the running process ${child.pid}`));
  assert.equal(await postmaster(folder.dataDir), running);
  assert.ok(await commandOf(running));
  child.kill("SIGKILL");
  await once(child, "close");
  await folder.start();
});

test("one of two processes that start at the same time gets the folder", async (t) => {
  const folder = await makeFolder(t);
  const both = await Promise.all([1, 2].map(() => startElsewhere(t, folder.dataDir)));
  const [url = "", refusal] = both.map(({ line }) => line).sort((a, b) => (a < b ? 1 : -1));
  assert.match(refusal ?? "", /^The database in .* is in use by /);
  assert.equal(await ask(url, "SELECT 1"), "1");
  for (const { child } of both) {
    child.kill("SIGKILL");
    await once(child, "close");
  }
  await folder.start();
});

test("a process of another container, whose pid means nothing here, keeps the folder", async (t) => {
  const folder = await makeFolder(t);
  const other = await holdFolder(folder.dataDir);
  t.after(() => other.release());
  await writeFile(join(folder.dataDir, "owner"), "1 0f3a9c\n");
  await assert.rejects(folder.start(), /in use by the running process 1 on 0f3a9c\. Stop that one/);
  await writeFile(join(folder.dataDir, "owner"), "");
  await assert.rejects(folder.start(), /in use by another process\. /);
});

test("a pid file with the pid of another program is stale, and that program keeps running", async (t) => {
  const folder = await makeFolder(t);
  await (await folder.start()).stop();
  const other = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1000)"]);
  t.after(() => other.kill("SIGKILL"));
  await once(other, "spawn");
  const pidFile = join(folder.dataDir, "cluster", "postmaster.pid");
  await writeFile(pidFile, `${other.pid}\n${join(folder.dataDir, "cluster")}\n0\n0\n\n\n\n`);
  const { url } = await folder.start();
  assert.equal(await ask(url, "SELECT 1"), "1");
  assert.equal(other.exitCode, null);
});

test("a start repeats an interrupted first start", async (t) => {
  const folder = await makeFolder(t);
  await mkdir(join(folder.dataDir, "cluster.new", "base"), { recursive: true });
  await writeFile(join(folder.dataDir, "cluster.new", "PG_VERSION"), "18\n");
  assert.equal(await ask((await folder.start()).url, "SELECT 1"), "1");
});

test("PostgreSQL works below a folder that only its owner may enter, such as /root", async (t) => {
  const folder = await makeFolder(t);
  await mkdir(folder.dataDir, { mode: 0o700 });
  const first = await folder.start();
  assert.equal(await ask(first.url, "SELECT 1"), "1");
  await first.stop();
  assert.equal((await stat(folder.dataDir)).mode & 0o777, 0o700);
  assert.equal(await ask((await folder.start()).url, "SELECT 1"), "1");
});

test("a port that is in use is named in the error", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as { port: number };
  const folder = await makeFolder(t);
  await assert.rejects(folder.start({ port }), new RegExp(`127.0.0.1:${port}: the port is taken`));
});

test("stop is idempotent, and no process runs after it", async (t) => {
  const folder = await makeFolder(t);
  const postgres = await folder.start();
  const pid = await postmaster(folder.dataDir);
  await Promise.all([postgres.stop(), postgres.stop()]);
  await postgres.stop();
  assert.equal(await commandOf(pid), undefined);
});

test("a folder whose path is too long for a socket is reached over TCP", async (t) => {
  const folder = await makeFolder(t, join(..."abc".split("").map((letter) => letter.repeat(200))));
  const { url, socketUrl } = await folder.start();
  assert.equal(socketUrl, url);
  assert.equal(await ask(socketUrl, "SELECT 1"), "1");
});

test("a folder that cannot be used is named in the error", async (t) => {
  const folder = await makeFolder(t);
  await writeFile(folder.dataDir, "");
  await assert.rejects(folder.start(), {
    message: `The data folder ${folder.dataDir} is not a folder.`,
  });
  const long = await makeFolder(t, join(..."abcd".split("").map((letter) => letter.repeat(200))));
  await assert.rejects(
    long.start(),
    /The path of the data folder .* is too long: at most 800 bytes/,
  );
  const broken = await makeFolder(t, "line\nbreak");
  await assert.rejects(broken.start(), /line\\nbreak" contains a line break\.$/);
});

test("a free port is none that the process opens later", async (t) => {
  const folder = await makeFolder(t);
  const allowed = (port: number) => port % 64 < 8;
  const ports = Array.from({ length: 65_536 }, (_, port) => port);
  const { url } = await folder.start({ reservedPorts: ports.filter((port) => !allowed(port)) });
  assert.ok(allowed(Number(new URL(url).port)), url);
});
