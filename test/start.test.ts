import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { freePorts } from "../scripts/ports.ts";
import { startAll } from "../services/all.ts";
import { quiet } from "./backends/postgres.ts";
import { copyPostgresTemplate } from "./backends/postgres-template.ts";
import { RawDevice } from "./devices/raw-device.ts";
import { people } from "./world/people.ts";

const root = join(import.meta.dirname, "..");
const run = promisify(execFile);
const TIMEOUT = 120_000;

interface Installation {
  readonly dataDir: string;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Reserves a data folder and ports, as on a machine of its own. `fresh` leaves the folder empty and all
 * settings at their defaults; otherwise the folder has a database and keys are short, which saves the
 * time to create them.
 */
async function install(t: TestContext, { fresh = false } = {}): Promise<Installation> {
  const dataDir = await mkdtemp(join(tmpdir(), "lucky-start-"));
  // PostgreSQL runs under another account when the test runs as root.
  await chmod(dataDir, 0o711);
  t.after(() => rm(dataDir, { recursive: true, force: true }));
  if (!fresh) {
    const database = join(dataDir, "postgres");
    await mkdir(database, { mode: 0o711 });
    await copyPostgresTemplate(database, quiet);
  }
  const [gateway, connect] = await freePorts(2);
  return {
    dataDir,
    env: {
      PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}`,
      HOME: process.env.HOME,
      LUCKY_DATA_DIR: dataDir,
      LUCKY_GATEWAY_PORT: String(gateway),
      LUCKY_CONNECT_PORT: String(connect),
      ...(fresh ? {} : { LUCKY_AUTH_PASSWORD_KEY_BITS: "2048" }),
    },
  };
}

/** Runs the script of `npm start`; resolves when it is ready or has exited. */
async function start(t: TestContext, { env }: Installation) {
  const script = join(root, "services/all.ts");
  const child = spawn("node", ["--disable-warning=ExperimentalWarning", script], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  let out = "";
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors += chunk;
  });
  t.after(async () => {
    if (runs(child)) child.kill("SIGTERM");
    await ended;
  });
  await new Promise<void>((resolve) => {
    child.stdout.on("data", (chunk) => {
      out += chunk;
      if (out.includes("Ctrl-C")) resolve();
    });
    child.once("close", () => resolve());
  });
  return { child, ended, out, errors, url: `http://127.0.0.1:${env.LUCKY_GATEWAY_PORT}` };
}

function runs(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** The pid of the PostgreSQL on a data folder; undefined when none runs. */
async function postgresOf({ dataDir }: Installation): Promise<number | undefined> {
  const file = join(dataDir, "postgres/cluster/postmaster.pid");
  const pid = Number.parseInt(await readFile(file, "utf8").catch(() => ""), 10);
  try {
    process.kill(pid, 0);
    return pid;
  } catch {
    return undefined;
  }
}

test("a first start prints commands and an address of pages that work, only the owner can read its keys, and a stop ends every process", {
  timeout: TIMEOUT,
}, async (t) => {
  const installation = await install(t, { fresh: true });
  const { child, ended, out } = await start(t, installation);
  const commands = out.match(/^ +(npx buf curl|curl) .*$/gm) ?? [];
  assert.equal(commands.length, 3);
  for (const command of commands) {
    const { stdout } = await run("sh", ["-c", command], { cwd: root });
    if (command.includes("--list-methods")) assert.match(stdout, /^lucky\.auth\.v1\..*\/Login$/m);
    else assert.equal(JSON.parse(stdout).algorithm, "RSA-OAEP-SHA256", command);
  }
  const pages = /^ +Pages +(\S+)/m.exec(out)?.[1] ?? "";
  assert.equal((await fetch(pages)).status, 200, pages);
  for (const file of ["auth.key", "postgres/password"]) {
    const { mode } = await stat(join(installation.dataDir, file));
    assert.equal(mode & 0o777, 0o600, file);
  }
  assert.notEqual(await postgresOf(installation), undefined);
  child.kill("SIGINT");
  assert.deepEqual(await ended, [0, null]);
  assert.equal(await postgresOf(installation), undefined);
});

test("a second start on the same data names the process that uses it, and data survives its kill -9", {
  timeout: TIMEOUT,
}, async (t) => {
  const installation = await install(t);
  const first = await start(t, installation);
  const [ana] = await people(first, "ana");
  const second = await start(t, installation);
  await second.ended;
  assert.equal(second.child.exitCode, 1);
  assert.match(second.errors, new RegExp(`in use by the running process ${first.child.pid}`));
  assert.ok(runs(first.child));
  first.child.kill("SIGKILL");
  await first.ended;
  await start(t, installation);
  assert.notEqual((await ana!.login()).accessToken, "");
});

for (const variable of ["LUCKY_GATEWAY_PORT", "LUCKY_CONNECT_PORT"]) {
  test(`a taken port is reported with ${variable}, and no process is left running`, {
    timeout: TIMEOUT,
  }, async (t) => {
    const installation = await install(t);
    const port = Number(installation.env[variable]);
    const holder = createServer().listen(port, "127.0.0.1");
    await once(holder, "listening");
    t.after(() => holder.close());
    const { child, ended, errors } = await start(t, installation);
    await ended;
    assert.equal(child.exitCode, 1);
    assert.equal(
      errors,
      `Port ${port} on 127.0.0.1 is taken by another process: end that one, or set ${variable} to another port.\n`,
    );
    assert.equal(await postgresOf(installation), undefined);
  });
}

/** Whether a TCP connection to the address opens. */
async function opens(host: string, url: string): Promise<boolean> {
  const socket = connect({ host, port: Number(new URL(url).port) });
  const opened = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return opened;
}

test("with LUCKY_HOST=0.0.0.0, only the gateway's port is open to other machines", {
  timeout: TIMEOUT,
}, async (t) => {
  const { dataDir } = await install(t);
  const ports = { LUCKY_GATEWAY_PORT: "0", LUCKY_CONNECT_PORT: "0", LUCKY_OPS_PORT: "0" };
  const env = { LUCKY_LOG_LEVEL: "silent", LUCKY_DATA_DIR: dataDir, LUCKY_HOST: "0.0.0.0" };
  const all = await startAll({ env: { ...env, ...ports } });
  t.after(() => all.stop());
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  const external = addresses.find(({ internal, family }) => !internal && family === "IPv4");
  // Linux answers on all of 127.0.0.0/8, but 127.0.0.2 does not reach a port of 127.0.0.1.
  const machine = external?.address ?? "127.0.0.2";
  assert.ok(await opens(machine, all.url), `the gateway listens on ${machine}`);
  for (const url of [all.connectUrl, all.opsUrl, all.postgresUrl]) {
    assert.ok(await opens("127.0.0.1", url), url);
    assert.ok(!(await opens(machine, url)), `${url} is closed on ${machine}`);
  }

  const [ana] = await people(all, "ana");
  const device = await RawDevice.hello(all.url, (await ana!.login()).accessToken);
  await device.close();
});

test("all faults of the configuration are reported at once", { timeout: TIMEOUT }, async (t) => {
  const { env, dataDir } = await install(t, { fresh: true });
  const faulty = { ...env, LUCKY_GATEWAY_PORT: "many", LUCKY_GATEWAY_PROT: "1" };
  const { child, ended, errors } = await start(t, { env: faulty, dataDir });
  await ended;
  assert.equal(child.exitCode, 1);
  assert.match(errors, /LUCKY_GATEWAY_PORT must be/);
  assert.match(errors, /LUCKY_GATEWAY_PROT is unknown/);
});
