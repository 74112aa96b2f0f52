import { create, toBinary } from "@bufbuild/protobuf";
import { GetUserRequestSchema, UserService } from "#gen/lucky/user/v1/user_pb.js";
import { systemClock } from "#platform/clock.ts";
import { createLog } from "#platform/log.ts";
import { createRedisRegistry } from "#platform/registry/redis.ts";
import type { FlagsOf, FlagTable } from "../command/flags.ts";
import { type Figures, type Report, rounded } from "../command/report.ts";
import { type CpuSeconds, cpuBetween, readCpu } from "../machine/cpu.ts";
import { type Machine, readMachine, readVersions } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import { benchShare } from "../runs/bottleneck.ts";
import { scenario } from "../runs/scenario.ts";
import { Histogram } from "../statistics/histogram.ts";
import { withCleanUp } from "../system/database.ts";
import { type Call, HttpCaller } from "../system/http-caller.ts";
import { type System, shapeFigures, shapeFlags, shapeOf } from "../system/system.ts";

const WARMUP_S = 2;
const CALLERS = 100;
const NO_DIRECT_CALLS =
  "none: in one process auth has no listener, and the gateway calls its functions";

const declared = {
  ...shapeFlags,
  mode: { ...shapeFlags.mode, default: "mesh" },
  concurrency: { default: "32", doc: "concurrent calls, each on its own connection" },
  seconds: { default: "10", doc: "seconds that each target is measured" },
} satisfies FlagTable;

/**
 * In this scenario a message is a call. p50_ms, p99_ms and cpu_us_per_message describe the calls through the
 * gateway. The calls send and store nothing, so nothing can be lost or duplicated; a failed call ends the
 * run.
 *
 * In one process there are no direct calls to compare with: auth has no listener there, and only local calls
 * reach its handlers. A listener only for the bench would measure a set-up that does not exist in production,
 * and calls over the socket pass through connect instead of the gateway.
 */
export default scenario({
  summary: "UserService.GetUser through the gateway, and in a mesh also directly at auth",
  flags: declared,
  run: rpc,
});

async function rpc(flags: FlagsOf<typeof declared>, bench: Bench): Promise<Report> {
  const machine = readMachine();
  return bench.withSystem(shapeOf(flags), async (system) => {
    const { users } = await bench.makeUsers(system, CALLERS);
    const callOf = (url: string) => (nth: number) => {
      const { userId, accessToken } = users[nth % CALLERS]!;
      const key = { case: "userId", value: userId } as const;
      const request = toBinary(GetUserRequestSchema, create(GetUserRequestSchema, { key }));
      return { url, method: `${UserService.typeName}/GetUser`, token: accessToken, request };
    };
    const gateway = await measure({ flags, bench, machine, system, call: callOf(system.url) });
    const auth = await addressOfAuth(system);
    const direct = auth && (await measure({ flags, bench, machine, system, call: callOf(auth) }));
    return {
      figures: {
        ...shapeFigures(system),
        concurrency: flags.number("concurrency"),
        seconds: flags.number("seconds", 0.1),
        gateway_per_s: gateway.perS,
        direct_per_s: direct ? direct.perS : null,
        ratio: direct ? rounded(gateway.perS / direct.perS, 2) : null,
        ...gateway.figures,
        gateway: gateway.figures,
        direct: direct ? direct.figures : NO_DIRECT_CALLS,
        machine,
        versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
      },
      faults: [],
      limitedBy: gateway.limitedBy ?? (direct || undefined)?.limitedBy,
    };
  });
}

/** Address of auth behind the gateway; undefined in one process, where auth does not listen. */
function addressOfAuth({ redisUrl }: System): Promise<string | undefined> {
  return withCleanUp(async (started) => {
    if (redisUrl === undefined) return undefined;
    const log = createLog({ service: "bench", instanceId: "bench", level: "warn" });
    const registry = await createRedisRegistry({ url: redisUrl, clock: systemClock, log });
    started.push(() => registry.close());
    const [instance] = await registry.instances("auth");
    return instance?.address;
  });
}

interface Measure {
  readonly flags: FlagsOf<typeof declared>;
  readonly bench: Bench;
  readonly machine: Machine;
  readonly system: System;
  readonly call: (nth: number) => Call;
}

async function measure({ flags, bench, machine, system, call }: Measure) {
  const seconds = flags.number("seconds", 0.1);
  const latencies = new Histogram();
  const fromMs = performance.now() + WARMUP_S * 1_000;
  const untilMs = fromMs + seconds * 1_000;
  let done = 0;
  let before: { readonly cpu: CpuSeconds; readonly atMs: number } | undefined;
  const work = async (nth: number) => {
    const caller = new HttpCaller(call(nth));
    for (;;) {
      const sinceMs = performance.now();
      if (sinceMs >= untilMs) break;
      if (sinceMs >= fromMs) before ??= { cpu: readCpu(system.processes), atMs: sinceMs };
      await caller.call();
      const nowMs = performance.now();
      if (nowMs < fromMs || nowMs >= untilMs) continue;
      done++;
      latencies.add((nowMs - sinceMs) * 1_000);
    }
    caller.close();
  };
  const concurrency = flags.number("concurrency");
  bench.loadBegins();
  await Promise.all(Array.from({ length: concurrency }, (_, nth) => work(nth)));
  const after = readCpu(system.processes);
  const elapsedS = (performance.now() - (before?.atMs ?? fromMs)) / 1_000;
  const cpu = cpuBetween(before?.cpu ?? after, after);
  const own = benchShare({ cpu, elapsedS, cpus: machine.cpus });
  const figures: Figures = {
    p50_ms: rounded(latencies.percentile(0.5) / 1_000, 2),
    p99_ms: rounded(latencies.percentile(0.99) / 1_000, 2),
    cpu_us_per_message: Object.fromEntries(
      [...cpu].map(([name, used]) => [name, rounded((used / Math.max(1, done)) * 1e6)]),
    ),
    ...own.figures,
  };
  return { perS: Math.round(done / seconds), figures, limitedBy: own.limitedBy };
}
