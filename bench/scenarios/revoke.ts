import { setTimeout as pause } from "node:timers/promises";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import { RawDevice } from "../../test/devices/raw-device.ts";
import { clientOf } from "../../test/world/people.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Report, rounded } from "../command/report.ts";
import { cpuBetween, readCpu } from "../machine/cpu.ts";
import { readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { benchShare } from "../runs/bottleneck.ts";
import { scenario } from "../runs/scenario.ts";
import { Histogram } from "../statistics/histogram.ts";
import {
  addressesOf,
  type System,
  shapeFigures,
  shapeFlags,
  shapeOf,
  socketFlags,
} from "../system/system.ts";
import type { User } from "../system/users.ts";

/** Bound of the p99 that the documentation promises, milliseconds. */
const MAX_P99_MS = 1_000;
/** Time-out of the wait for the end of a session after its logout; then the session counts as lost. */
const CLOSE_TIMEOUT_MS = 30_000;

const declared = {
  ...shapeFlags,
  ...socketFlags,
  mode: { ...shapeFlags.mode, default: "mesh" },
  connects: { ...shapeFlags.connects, default: "3" },
  sessions: { default: "600", doc: "sessions, each of a different user, all of them logged out" },
  "at-once": { default: "8", doc: "logouts in flight" },
} satisfies FlagTable;

/**
 * In this scenario a message is a logout: `lost` counts the logouts whose session stayed open, and
 * cpu_us_per_message includes the opening of the session. Throughput is not measured, and a session ends
 * once: there is no delivered_per_s, accepted_per_s or duplicated.
 */
export default scenario({
  summary: "time from a logout by a call through the gateway until the socket is closed",
  flags: declared,
  run: revoke,
});

async function revoke(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  return bench.withSystem(shapeOf(flags), async (system) => {
    const { users, origin } = await bench.makeUsers(system, flags.number("sessions"));
    const addresses = addressesOf(system, flags);
    const fromCall = new Histogram();
    const fromAnswer = new Histogram();
    const codes: Record<string, number> = {};
    const failures: Record<string, number> = {};
    let lost = 0;
    const remaining = users.entries();
    const work = async () => {
      for (const [index, user] of remaining) {
        const address = addresses[index % addresses.length]!;
        const ended = await endOne({ system, user, address }).catch(({ message }: Error) => {
          failures[message] = (failures[message] ?? 0) + 1;
        });
        if (ended === undefined) continue;
        if (ended === "open") {
          lost++;
          continue;
        }
        fromCall.add(ended.fromCallMs * 1_000);
        fromAnswer.add(Math.max(0, ended.fromAnswerMs) * 1_000);
        const name = CloseCode[ended.code] ?? String(ended.code);
        codes[name] = (codes[name] ?? 0) + 1;
      }
    };
    const atOnce = flags.number("at-once");
    bench.loadBegins();
    const before = readCpu(system.processes);
    const beganMs = performance.now();
    await Promise.all(Array.from({ length: atOnce }, work));
    const elapsedS = (performance.now() - beganMs) / 1_000;
    const cpu = cpuBetween(before, readCpu(system.processes));
    const own = benchShare({ cpu, elapsedS, cpus: machine.cpus });
    const p99Ms = fromCall.percentile(0.99) / 1_000;
    const otherCodes = Object.keys(codes).filter((code) => code !== "TOKEN_REVOKED");
    return {
      figures: {
        ...shapeFigures(system),
        sessions: users.length,
        users_origin: origin,
        p50_ms: rounded(fromCall.percentile(0.5) / 1_000, 2),
        p99_ms: rounded(p99Ms, 2),
        max_ms: rounded(fromCall.percentile(1) / 1_000, 2),
        after_answer_p50_ms: rounded(fromAnswer.percentile(0.5) / 1_000, 2),
        after_answer_p99_ms: rounded(fromAnswer.percentile(0.99) / 1_000, 2),
        lost,
        close_codes: codes,
        failures,
        cpu_us_per_message: Object.fromEntries(
          [...cpu].map(([name, seconds]) => [name, rounded((seconds / users.length) * 1e6, 0)]),
        ),
        ...own.figures,
        machine,
        versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
      },
      faults: [
        ...(p99Ms >= MAX_P99_MS ? [`the p99 was ${Math.round(p99Ms)} ms`] : []),
        ...(lost > 0
          ? [`${lost} sessions were still open after ${CLOSE_TIMEOUT_MS / 1_000} s`]
          : []),
        ...Object.entries(failures).map(([why, count]) => `${count} logouts failed: ${why}`),
        ...otherCodes.map((code) => `${codes[code]} sessions ended with ${code}`),
      ],
      limitedBy: own.limitedBy,
    };
  });
}

interface Ending {
  readonly system: System;
  readonly user: User;
  readonly address: string;
}

/** Opens a session, logs it out by a call, and waits for its end; "open" after the time-out. */
async function endOne({ system, user, address }: Ending) {
  const device = await RawDevice.hello(address, user.accessToken);
  const sinceMs = performance.now();
  const closed = device.closed.then(({ code }) => ({ code, atMs: performance.now() }));
  await clientOf(system.url, AuthService, user.accessToken).logout({});
  const answeredMs = performance.now();
  const end = await Promise.race([closed, pause(CLOSE_TIMEOUT_MS, undefined, { ref: false })]);
  if (end === undefined) {
    void device.close();
    return "open";
  }
  return { code: end.code, fromCallMs: end.atMs - sinceMs, fromAnswerMs: end.atMs - answeredMs };
}
