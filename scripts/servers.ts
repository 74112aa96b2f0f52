import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const POLL_INTERVAL_MS = 50;
const READY_TIMEOUT_MS = 90_000;
/**
 * Folders of RabbitMQ's own scripts. Debian's wrappers on the path switch to another user first.
 */
const RABBIT_FOLDERS = ["/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/sbin"];

export interface LaunchOptions {
  /** Folder for data, log and configuration; created when missing. Its data survives a restart. */
  readonly dir: string;
  /** Port on 127.0.0.1. */
  readonly port: number;
  /** Whether the server outlives this process. */
  readonly detached?: boolean;
}

/** A server that listens on 127.0.0.1 and has answered. */
export interface Launched {
  readonly url: string;
  /** Processes to stop, in this order: the server, then the processes that it needs. */
  readonly processes: readonly [ChildProcess, ...ChildProcess[]];
}

/** Starts a Redis without persistence. Throws an error for the user when it does not start. */
export async function launchRedis(options: LaunchOptions): Promise<Launched> {
  const { dir, port } = options;
  await mkdir(dir, { recursive: true });
  const flags = ["--port", port, "--dir", dir, "--save", "", "--appendonly", "no"];
  const server = run({
    ...options,
    name: "redis-server",
    program: pathOf("redis-server", []),
    args: [...flags, "--bind", "127.0.0.1"].map(String),
    env: process.env,
  });
  await waitForAnswer(server, { ...options, name: "Redis", say: "PING\r\n", expect: "+PONG" });
  return { url: `redis://127.0.0.1:${port}`, processes: [server] };
}

export interface PgbouncerOptions extends LaunchOptions {
  /** URLs of one database for all users that may log in. */
  readonly urls: readonly string[];
  /** Settings of the section [pgbouncer], in addition to those of transaction mode. */
  readonly settings?: Readonly<Record<string, string>>;
}

/**
 * Starts a PgBouncer in transaction mode, which keeps no named statements. The URL has the user of
 * the first one.
 */
export async function launchPgbouncer(options: PgbouncerOptions): Promise<Launched> {
  const { dir, port } = options;
  const [server, ...others] = options.urls.map((url) => new URL(url)) as [URL, ...URL[]];
  await mkdir(dir, { recursive: true });
  const program = pathOf("pgbouncer", []);
  const settings = {
    listen_addr: "127.0.0.1",
    listen_port: String(port),
    unix_socket_dir: "",
    auth_type: "scram-sha-256",
    auth_file: join(dir, "users"),
    pool_mode: "transaction",
    ...(keepsNames(program) && { max_prepared_statements: "0" }),
    ...options.settings,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  const users = [server, ...others].map(({ username, password }) => {
    return `"${decodeURIComponent(username)}" "${decodeURIComponent(password)}"\n`;
  });
  await writeFile(join(dir, "users"), users.join(""));
  await writeFile(
    join(dir, "pgbouncer.ini"),
    `[databases]\n* = host=${server.hostname} port=${server.port}\n[pgbouncer]\n${lines.join("\n")}\n`,
  );
  // PgBouncer refuses to run as root, and its user must reach the folder.
  await chmod(dir, 0o755);
  const asUser = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const pooler = run({
    ...options,
    name: "pgbouncer",
    program,
    args: [...asUser, join(dir, "pgbouncer.ini")],
    env: process.env,
  });
  // The answer to a request for TLS: not available.
  const say = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]).toString("latin1");
  await waitForAnswer(pooler, { ...options, name: "PgBouncer", say, expect: "N" });
  const url = new URL(server);
  url.port = String(port);
  return { url: url.href, processes: [pooler] };
}

/** Whether this PgBouncer can keep named statements: from 1.21 on. */
function keepsNames(program: string): boolean {
  const version = execFileSync(program, ["--version"], { encoding: "utf8" });
  const [, major, minor] = /(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(major) > 1 || Number(minor) >= 21;
}

export interface PrometheusOptions extends LaunchOptions {
  /** The file prometheus.yml. */
  readonly configuration: string;
}

/** Starts a Prometheus. */
export async function launchPrometheus(options: PrometheusOptions): Promise<Launched> {
  const { dir, port, configuration } = options;
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "prometheus.yml"), configuration);
  const server = run({
    ...options,
    name: "prometheus",
    program: pathOf("prometheus", []),
    args: [
      `--config.file=${join(dir, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(dir, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    env: process.env,
  });
  const say = "GET /-/ready HTTP/1.0\r\n\r\n";
  await waitForAnswer(server, { ...options, name: "Prometheus", say, expect: "HTTP/1.0 200 OK" });
  return { url: `http://127.0.0.1:${port}`, processes: [server] };
}

export interface NginxOptions extends LaunchOptions {
  /** Text of nginx.conf, which listens on the port. */
  readonly configuration: string;
  /** Sent first on a connection, such as a header of the PROXY protocol that nginx expects. */
  readonly header?: string | undefined;
}

/** Starts an nginx with a configuration. Rejects with nginx's own message when that has a fault. */
export async function launchNginx(options: NginxOptions): Promise<Launched> {
  const { dir, port, configuration } = options;
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "nginx.conf"), configuration);
  // When root starts nginx, its workers run as another user, who cannot write to the folder.
  const user = process.getuid?.() === 0 ? " user root;" : "";
  const server = run({
    ...options,
    name: "nginx",
    program: pathOf("nginx", []),
    args: ["-p", dir, "-c", join(dir, "nginx.conf"), "-g", `daemon off;${user}`],
    env: process.env,
  });
  const say = `${options.header ?? ""}GET / HTTP/1.0\r\n\r\n`;
  await waitForAnswer(server, { ...options, name: "nginx", say, expect: "HTTP/1.1" });
  return { url: `https://localhost:${port}`, processes: [server] };
}

export interface RabbitOptions extends LaunchOptions {
  /** Ports of Erlang's port mapper (epmd) and of Erlang's distribution. */
  readonly mapperPort: number;
  readonly erlangPort: number;
}

/**
 * Starts a RabbitMQ that shares nothing with others on the machine: it has its own node name, port
 * mapper, data and configuration. User and password are "guest".
 */
export async function launchRabbit(options: RabbitOptions): Promise<Launched> {
  const { dir, port, mapperPort, erlangPort } = options;
  await mkdir(dir, { recursive: true });
  const configuration = `listeners.tcp.default = 127.0.0.1:${port}\nlog.console = false\n`;
  await writeFile(join(dir, "rabbitmq.conf"), configuration);
  await writeFile(join(dir, "enabled_plugins"), "[].\n");
  await writeFile(join(dir, "rabbitmq-env.conf"), "");
  const inherited = Object.entries(process.env).filter(([name]) => !/^(RABBITMQ_|ERL_)/.test(name));
  const env = {
    ...Object.fromEntries(inherited),
    HOME: dir,
    ERL_EPMD_PORT: String(mapperPort),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ERL_CRASH_DUMP_SECONDS: "0",
    RABBITMQ_NODENAME: `lucky${port}@localhost`,
    RABBITMQ_DIST_PORT: String(erlangPort),
    RABBITMQ_MNESIA_BASE: join(dir, "data"),
    RABBITMQ_LOG_BASE: join(dir, "log"),
    RABBITMQ_CONFIG_FILE: join(dir, "rabbitmq.conf"),
    RABBITMQ_CONF_ENV_FILE: join(dir, "rabbitmq-env.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, "enabled_plugins"),
    RABBITMQ_PID_FILE: join(dir, "pid"),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
    // Makes the script replace its shell by the server (exec), instead of waiting for it.
    RUNNING_UNDER_SYSTEMD: "true",
  };

  await writeControl(dir, env);

  const mapper = run({
    ...options,
    name: "epmd",
    program: pathOf("epmd", []),
    args: ["-port", String(mapperPort), "-address", "127.0.0.1"],
    env,
  });
  try {
    // epmd answers the request for its names with its own port first.
    const names = Buffer.from([0, 1, 110]).toString("latin1");
    const itself = Buffer.alloc(4);
    itself.writeUInt32BE(mapperPort);
    const expect = itself.toString("latin1");
    await waitForAnswer(mapper, { ...options, name: "epmd", port: mapperPort, say: names, expect });
    const server = run({
      ...options,
      name: "rabbitmq-server",
      program: pathOf("rabbitmq-server", RABBIT_FOLDERS),
      args: [],
      env,
    });
    // RabbitMQ answers the protocol header with the method "start" in a frame on channel 0.
    const start = "\u0001\u0000\u0000";
    const header = "AMQP\u0000\u0000\u0009\u0001";
    await waitForAnswer(server, { ...options, name: "RabbitMQ", say: header, expect: start });
    return { url: `amqp://guest:guest@127.0.0.1:${port}`, processes: [server, mapper] };
  } catch (error) {
    mapper.kill("SIGKILL");
    throw error;
  }
}

/** Writes `<dir>/rabbitmqctl`, a rabbitmqctl for this node. */
async function writeControl(dir: string, env: Record<string, string | undefined>): Promise<void> {
  const names = Object.keys(env).filter((name) => /^(RABBITMQ_|ERL_|HOME$)/.test(name));
  const settings = names.map((name) => `export ${name}='${env[name]}'`);
  const program = pathOf("rabbitmqctl", RABBIT_FOLDERS);
  const lines = ["#!/bin/sh", ...settings, `exec ${program} "$@"`, ""];
  await writeFile(join(dir, "rabbitmqctl"), lines.join("\n"), { mode: 0o700 });
}

/** Whether a process still runs. */
export function runs(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

interface RunOptions extends LaunchOptions {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/** Runs a program with its output in `<dir>/<name>.out`. */
function run({ dir, detached = false, name, program, args, env }: RunOptions): ChildProcess {
  const out = openSync(join(dir, `${name}.out`), "w");
  try {
    const child = spawn(program, args, { cwd: dir, env, detached, stdio: ["ignore", out, out] });
    // A failed spawn is reported later, when the server does not answer.
    child.on("error", () => {});
    if (detached) child.unref();
    return child;
  } finally {
    closeSync(out);
  }
}

interface ProbeOptions extends LaunchOptions {
  readonly name: string;
  readonly say: string;
  readonly expect: string;
}

/** Waits until the server answers on its port; kills it and throws after the time-out. */
async function waitForAnswer(server: ChildProcess, options: ProbeOptions): Promise<void> {
  const { dir, name, port } = options;
  const until = Date.now() + READY_TIMEOUT_MS;
  while (Date.now() < until) {
    if (!runs(server))
      throw new Error(`${name} did not start on port ${port}:\n${lastOutput(server, dir)}`);
    if (await probe(options)) return;
    await pause(POLL_INTERVAL_MS);
  }
  server.kill("SIGKILL");
  throw new Error(`${name} did not answer on port ${port} in ${READY_TIMEOUT_MS / 1_000} s`);
}

function probe({ port, say, expect }: ProbeOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    let received = "";
    socket.setEncoding("latin1");
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on("connect", () => socket.write(say, "latin1"));
    socket.on("data", (text) => {
      received += text;
      if (received.length >= expect.length) socket.destroy();
    });
    // The server does not listen yet.
    socket.on("error", () => {});
    socket.on("close", () => resolve(received.startsWith(expect)));
  });
}

function lastOutput(server: ChildProcess, dir: string): string {
  const name = server.spawnfile.split("/").at(-1);
  const file = join(dir, `${name}.out`);
  const out = existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  return out.split("\n").slice(-15).join("\n") || "it printed nothing";
}

/** The required programs that are not installed. */
export function missingPrograms(): string[] {
  const servers = ["redis-server", "rabbitmq-server", "pgbouncer", "nginx"];
  const watchers = ["prometheus", "prometheus-alertmanager"];
  return [...servers, ...watchers].filter((name) => !findProgram(name, RABBIT_FOLDERS));
}

function pathOf(program: string, preferred: readonly string[]): string {
  const path = findProgram(program, preferred);
  if (!path) throw new Error(`${program} is not installed: run "npm run backends" once`);
  return path;
}

/** Path of a program: searched in `preferred` first, then on PATH. */
export function findProgram(program: string, preferred: readonly string[]): string | undefined {
  const folders = [...preferred, ...(process.env.PATH ?? "").split(":"), "/usr/bin", "/usr/sbin"];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/**
 * Installs packages with apt, on Debian. A policy file keeps them from starting their services. Elsewhere
 * it throws an error with the advice.
 */
export function installPackages(packages: readonly string[], advice: string): void {
  if (packages.length === 0) return;
  if (!existsSync("/usr/bin/apt-get"))
    throw new Error(`Not installed: ${packages.join(", ")}. ${advice}`);
  console.log(`Installing ${packages.join(", ")} …`);
  const script = `set -e
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      trap "rm -f $policy" EXIT
      printf '#!/bin/sh\\nexit 101\\n' > $policy
      chmod +x $policy
    fi
    apt-get -q update
    apt-get -q install -y --no-install-recommends ${packages.join(" ")}`;
  const command = process.getuid?.() === 0 ? ["sh", "-c", script] : ["sudo", "sh", "-c", script];
  execFileSync(command[0]!, command.slice(1), { stdio: "inherit" });
}
