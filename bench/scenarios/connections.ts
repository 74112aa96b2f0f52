import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Figures, type Report, rounded } from "../command/report.ts";
import type { DeviceSpec } from "../generator/devices/devices.ts";
import { cpuBetween, readCpu } from "../machine/cpu.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import { readMemory } from "../machine/memory.ts";
import type { Bench } from "../runs/bench.ts";
import { ACKNOWLEDGE_MS, Generators, generatorFlags, type OpenTotals } from "../runs/generators.ts";
import { scenario } from "../runs/scenario.ts";
import {
  addressesOf,
  type System,
  shapeFigures,
  shapeFlags,
  shapeOf,
  socketFlags,
} from "../system/system.ts";

/** Pause after which memory readings are stable. */
const SETTLE_MS = 3_000;
/** Sessions from one local address, which has about 28,000 ports. */
const SESSIONS_PER_ADDRESS = 20_000;
/** Open files that a process needs in addition to its sockets. */
const EXTRA_FILES = 500;

const declared = {
  ...shapeFlags,
  ...socketFlags,
  ...generatorFlags,
  sessions: { default: "10000", doc: "sessions, each of a different user" },
  warm: {
    default: "5000",
    doc: "sessions opened before the measurement, so that code is compiled and V8's young generation has its final size",
  },
  "at-once": { default: "64", doc: "handshakes in flight while sessions open" },
} satisfies FlagTable;

export default scenario({
  summary: "idle sessions: memory of each, accepts a second, and a reconnect of all together",
  flags: declared,
  run: connections,
});

async function connections(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  const sessions = flags.number("sessions");
  const warm = flags.number("warm", 1);
  const shape = shapeOf(flags);
  const opened = sessions + warm;
  const holders = Math.min(shape.connects, flags.number("generators", 1));
  // The only gateway has two sockets per session; in one process, connect's socket is in the same process
  // too.
  const sides = shape.mode === "mesh" ? 2 : 3;
  requireFiles(flags.on("through-gateway") ? sides * opened : Math.ceil(opened / holders));
  return bench.withSystem(shape, async (system) => {
    const { users, origin } = await bench.makeUsers(system, sessions + warm);
    const addresses = addressesOf(system, flags);
    const devices = users.map(
      ({ accessToken: token }, index): DeviceSpec => ({
        index,
        url: addresses[index % addresses.length]!,
        token,
        ...addressFor(index),
      }),
    );
    const setup = {
      dialect: "lucky",
      text: "",
      shared: false,
      acknowledgeMs: ACKNOWLEDGE_MS,
    } as const;
    const generators = await Generators.start(flags.number("generators"), setup);
    try {
      const atOnce = flags.number("at-once");
      bench.loadBegins();
      await generators.open(devices.slice(sessions), atOnce);
      const idle = devices.slice(0, sessions);
      const pids = holdersOf(system);
      await pause(SETTLE_MS);
      const before = readMemory(pids);
      const opening = await measureOpening(system, generators, () => generators.open(idle, atOnce));
      await pause(SETTLE_MS);
      const after = readMemory(pids);

      await generators.cut();
      await pause(SETTLE_MS);
      const storm = await measureOpening(system, generators, () => generators.open(idle, sessions));
      const { ended } = await generators.counts();
      const perSession = (kib: number) => rounded(kib / sessions, 2);
      const limits = [opening.opened.limitedBy, storm.opened.limitedBy];
      return {
        figures: {
          ...shapeFigures(system),
          sessions,
          sessions_before: warm,
          users_origin: origin,
          through_gateway: flags.on("through-gateway"),
          process_pss_kib_each: perSession(after.pssKib - before.pssKib),
          process_rss_kib_each: perSession(after.rssKib - before.rssKib),
          kernel_kib_each_both_ends: perSession(after.kernelKib - before.kernelKib),
          accepts: figuresOf(opening, sessions),
          accepts_per_s: rounded(sessions / opening.opened.elapsedS, 0),
          storm: figuresOf(storm, sessions),
          storm_per_s: rounded(sessions / storm.opened.elapsedS, 0),
          sessions_ended: ended,
          machine,
          versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
        },
        faults: Object.entries(ended).map(([end, count]) => `${count} sessions ended with ${end}`),
        limitedBy: limits.find((limit) => limit !== undefined),
      };
    } finally {
      generators.close();
    }
  });
}

/** A local address with free ports. The system picks the first one, which is far cheaper. */
function addressFor(index: number): Pick<DeviceSpec, "localAddress"> {
  const nth = Math.floor(index / SESSIONS_PER_ADDRESS);
  return nth === 0 ? {} : { localAddress: `127.0.0.${1 + nth}` };
}

interface Opening {
  readonly opened: OpenTotals;
  readonly cpu: ReadonlyMap<string, number>;
}

async function measureOpening(
  { processes }: System,
  generators: Generators,
  open: () => Promise<OpenTotals>,
): Promise<Opening> {
  const names = new Map([...processes, ...generators.processes]);
  const before = readCpu(names);
  const opened = await open();
  return { opened, cpu: cpuBetween(before, readCpu(names)) };
}

function figuresOf({ opened, cpu }: Opening, sessions: number): Figures {
  return {
    seconds: rounded(opened.elapsedS, 2),
    until_welcome_p50_ms: rounded(opened.latencies.percentile(0.5) / 1_000),
    until_welcome_p99_ms: rounded(opened.latencies.percentile(0.99) / 1_000),
    retried: opened.failed,
    failures: opened.failures,
    cpu_us_per_accept: Object.fromEntries(
      [...cpu].map(([name, seconds]) => [name, rounded((seconds / sessions) * 1e6, 0)]),
    ),
  };
}

/** Processes that hold the sessions. */
function holdersOf({ processes }: System): number[] {
  const holders = [...processes].filter(([, name]) => name === "connect" || name === "all");
  return holders.map(([pid]) => pid);
}

/** Throws an error for the user when one process may not open that many sockets. */
function requireFiles(sockets: number): void {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const hard = Number(/^Max open files\s+\S+\s+(\d+)/m.exec(limits)?.[1] ?? Infinity);
  if (sockets + EXTRA_FILES <= hard) return;
  throw new Error(
    `this number of sessions needs ${sockets + EXTRA_FILES} open files in a process; ` +
      `this machine allows ${hard} (ulimit -Hn).`,
  );
}
