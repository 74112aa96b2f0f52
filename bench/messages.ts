import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { fromBinary } from "@bufbuild/protobuf";
import pg from "pg";
import { LuckyClient } from "../client/client.ts";
import { DeviceClass } from "../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
import { SendResultSchema } from "../gen/lucky/message/v1/message_pb.js";
import { type CpuSeconds, readCpu } from "./cpu.ts";
import { Device, sendFrame } from "./device.ts";
import { type Mode, type System, settings, startSystem } from "./system.ts";
import { Follow, percentile, sum, type Tally } from "./tally.ts";

const textBytes = 128;
const warmUpMs = 2_000;
const acknowledgeMs = 50;
const heartbeatMs = 10_000;
const againMs = 100;
const arrivalsMs = 30_000;
const loginsAtATime = 8;

interface Options {
  readonly users: number;
  readonly window: number;
  readonly seconds: number;
  readonly mode: Mode;
}

interface User {
  readonly userId: bigint;
  readonly client: LuckyClient;
}

/** The load: users in pairs, each with a window of messages to the other in flight. */
class Load {
  readonly #options: Options;
  readonly #users: readonly User[];
  readonly #devices: Device[] = [];
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #indexes: ReadonlyMap<bigint, number>;
  readonly follows: Follow[];
  readonly refusals = new Map<string, number>();
  readonly latenciesMs: number[] = [];
  #sending = false;
  #measuring = false;
  #closing = false;

  constructor(options: Options, users: readonly User[]) {
    this.#options = options;
    this.#users = users;
    this.#indexes = new Map(users.map(({ userId }, index) => [userId, index]));
    this.follows = users.map(() => new Follow());
  }

  async open(): Promise<void> {
    for (const index of this.#users.keys()) this.#devices.push(await this.#device(index));
    const every = (ms: number, work: (device: Device) => void) => {
      this.#timers.push(setInterval(() => this.#devices.forEach(work), ms));
    };
    every(acknowledgeMs, (device) => device.acknowledge());
    every(heartbeatMs, (device) => device.heartbeat());
  }

  start(): void {
    this.#sending = true;
    for (const index of this.#users.keys()) {
      for (let n = 0; n < this.#options.window; n++) this.#sendNext(index);
    }
  }

  measure(on: boolean): void {
    this.#measuring = on;
  }

  /** Ends sending; what is under way still arrives. */
  finish(): void {
    this.#sending = false;
  }

  close(): void {
    this.#closing = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const device of this.#devices) device.close();
  }

  get tally(): Tally {
    return sum(this.follows);
  }

  async #device(index: number): Promise<Device> {
    const { client } = this.#users[index]!;
    return Device.open(await client.endpoint(), client.tokens!.accessToken, {
      accepted: () => {
        this.follows[index]!.accept();
        this.#sendNext(index);
      },
      refused: (key, result) => this.#refused(index, key, result),
      delivered: (sender, key, _conversation, sequence) => {
        const follow = this.follows[this.#indexes.get(sender)!]!;
        const n = numberOf(key);
        if (follow.deliver(n, sequence) && this.#measuring) {
          this.latenciesMs.push(performance.now() - follow.sentAtMs[n]!);
        }
      },
      ended: (code, reason) => {
        if (this.#closing) return;
        console.error(`a session ended with ${code} ${reason}`);
        process.exitCode = 1;
      },
    });
  }

  #sendNext(index: number): void {
    if (this.#sending) this.#send(index, this.follows[index]!.send(performance.now()));
  }

  #send(index: number, n: number): void {
    const partner = this.#users[index ^ 1]!;
    const key = keyOf(index, n);
    this.#devices[index]!.send(sendFrame(partner.userId, key, "x".repeat(textBytes)));
  }

  /** Busy: again under the same key. Anything else is a fault, and shows as not accepted. */
  #refused(index: number, key: string, result: Uint8Array): void {
    this.follows[index]!.refuse();
    const { outcome } = fromBinary(SendResultSchema, result);
    const reason = outcome.case === "refused" ? (outcome.value.error?.reason ?? 0) : 0;
    const name = ErrorReason[reason] ?? String(reason);
    this.refusals.set(name, (this.refusals.get(name) ?? 0) + 1);
    const passes = [ErrorReason.OVERLOADED, ErrorReason.UNAVAILABLE, ErrorReason.RATE_LIMITED];
    if (passes.includes(reason)) setTimeout(() => this.#send(index, numberOf(key)), againMs);
  }
}

/** Grows with time, like a UUIDv7, and tells sender and number. */
function keyOf(index: number, n: number): string {
  return `${Date.now().toString(16).padStart(12, "0")}-${index}-${n}`;
}

function numberOf(key: string): number {
  return Number(key.slice(key.lastIndexOf("-") + 1));
}

/** Registers users and logs them in, some at a time. */
async function makeUsers(url: string, count: number): Promise<User[]> {
  const users: User[] = [];
  const run = Date.now().toString(36);
  const indexes = Array.from({ length: count }, (_, index) => index).values();
  const work = async () => {
    for (const index of indexes) {
      const device = { deviceId: `bench-${index}`, deviceClass: DeviceClass.BOT };
      const client = new LuckyClient({ url, device });
      const name = `bench-${run}-${index}`;
      await client.register(name, "a password for a bench");
      const { userId } = await client.login(name, "a password for a bench");
      users[index] = { userId: BigInt(userId), client };
    }
  };
  await Promise.all(Array.from({ length: loginsAtATime }, work));
  return users;
}

/** What the database holds after the run. */
interface Stored {
  readonly rows: number;
  readonly sequences: number;
  readonly outbox: number;
}

async function readStored(url: string): Promise<Stored> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const result = await client.query(`
      SELECT (SELECT count(*) FROM im.entry)::float8 AS rows,
             (SELECT coalesce(sum(last_sequence), 0) FROM im.conversation)::float8 AS sequences,
             (SELECT count(*) FROM im.outbox)::float8 AS outbox`);
    return result.rows[0] as Stored;
  } finally {
    await client.end();
  }
}

/** Waits until everything that was accepted has arrived and nothing is on its way; bounded. */
async function arrivals(load: Load, postgresUrl: string): Promise<Stored> {
  const until = performance.now() + arrivalsMs;
  for (;;) {
    const { sent, accepted, delivered } = load.tally;
    const stored = await readStored(postgresUrl);
    const arrived = accepted === sent && delivered >= accepted && stored.outbox === 0;
    if (arrived || performance.now() > until) return stored;
    await pause(50);
  }
}

function perThousand(before: CpuSeconds, after: CpuSeconds, messages: number) {
  const entries = [...after].map(([name, seconds]): [string, number] => {
    const used = seconds - (before.get(name) ?? 0);
    return [name, Number(((used / messages) * 1_000).toFixed(4))];
  });
  return Object.fromEntries(entries.filter(([, used]) => used > 0).sort());
}

async function measure(system: System, options: Options): Promise<void> {
  console.log(`registering ${options.users} users`);
  const load = new Load(options, await makeUsers(system.url, options.users));
  await load.open();
  console.log(`sending for ${options.seconds} s, after ${warmUpMs / 1_000} s to warm up`);
  load.start();
  await pause(warmUpMs);

  const cpuBefore = readCpu(system.processes);
  const before = load.tally;
  const startedMs = performance.now();
  load.measure(true);
  await pause(options.seconds * 1_000);
  load.measure(false);
  const elapsedS = (performance.now() - startedMs) / 1_000;
  const after = load.tally;
  const cpu = perThousand(cpuBefore, readCpu(system.processes), after.delivered - before.delivered);

  load.finish();
  const stored = await arrivals(load, system.postgresUrl);
  load.close();
  const tally = load.tally;
  const latencies = Float64Array.from(load.latenciesMs);
  const figures = {
    mode: options.mode,
    users: options.users,
    window: options.window,
    seconds: options.seconds,
    delivered_per_s: Math.round((after.delivered - before.delivered) / elapsedS),
    acked_per_s: Math.round((after.accepted - before.accepted) / elapsedS),
    p50_ms: Number(percentile(latencies, 0.5).toFixed(1)),
    p99_ms: Number(percentile(latencies, 0.99).toFixed(1)),
    ...tally,
    refusals: Object.fromEntries(load.refusals),
    rows: stored.rows,
    sequences: stored.sequences,
    outbox: stored.outbox,
    cpu_s_per_1000_by_process: cpu,
  };
  print(figures);
  const whole =
    tally.sent === tally.accepted &&
    tally.delivered === tally.accepted &&
    tally.duplicated === 0 &&
    tally.outOfOrder === 0 &&
    stored.rows === tally.accepted &&
    stored.sequences === stored.rows &&
    stored.outbox === 0;
  if (!whole) {
    console.error("something was lost, doubled, out of order or left over");
    process.exitCode = 1;
  }
  console.log(JSON.stringify(figures));
}

function print(figures: Readonly<Record<string, unknown>>): void {
  console.log();
  for (const [name, value] of Object.entries(figures)) {
    if (typeof value !== "object" || value === null) {
      console.log(`  ${name.padEnd(24)} ${value}`);
      continue;
    }
    console.log(`  ${name}`);
    for (const [key, one] of Object.entries(value)) console.log(`    ${key.padEnd(22)} ${one}`);
  }
  console.log("\n  Settings that differ from the defaults:");
  for (const [name, value] of Object.entries(settings)) console.log(`    ${name}=${value}`);
  console.log();
}

/** `npm run bench -- messages`: how many messages a second travel, and whether all arrive. */
export async function benchMessages(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      users: { type: "string", default: "400" },
      window: { type: "string", default: "16" },
      seconds: { type: "string", default: "10" },
      mode: { type: "string", default: "embedded" },
    },
  });
  const { mode } = values;
  if (mode !== "embedded" && mode !== "mesh") throw new Error("--mode is embedded or mesh");
  const [users, window, seconds] = [values.users, values.window, values.seconds].map(Number);
  if (!users || users % 2 !== 0) throw new Error("--users is an even number");
  if (!window || !seconds) throw new Error("--window and --seconds are numbers above 0");
  console.log(`starting Lucky, ${mode}`);
  const system = await startSystem(mode);
  try {
    await measure(system, { users, window, seconds, mode });
  } finally {
    await system.stop();
  }
}
