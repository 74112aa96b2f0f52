import { startAllOrNothing } from "#platform/process/started.ts";
import { people } from "../world/people.ts";
import type { Attack, Victim } from "./attack.ts";
import { type Canary, startCanary } from "./canary.ts";
import { connectCalls } from "./connect-calls.ts";
import { Finding } from "./finding.ts";
import { grpcCalls } from "./grpc-calls.ts";
import { http1Bytes } from "./http1-bytes.ts";
import { http2Frames } from "./http2-frames.ts";
import { MemoryWatch } from "./memory-watch.ts";
import { Random } from "./random.ts";
import { startTarget, type Target } from "./target.ts";
import { websocketBytes } from "./websocket-bytes.ts";
import { websocketFrames } from "./websocket-frames.ts";

const ATTACKS: readonly Attack[] = [
  websocketFrames,
  websocketBytes,
  connectCalls,
  grpcCalls,
  http1Bytes,
  http2Frames,
];

/** Cases that run at the same time. */
const LANES = 8;
/** Cases between two exchanges of the canary. */
const CASES_PER_EXCHANGE = 40;
/** After this many findings the run ends. */
const MAX_FINDINGS = 5;

export interface FuzzOptions {
  /** Inputs in all. */
  readonly count: number;
  readonly seed: number;
  /** The only case to run; all when absent. */
  readonly only?: number;
  readonly print: (line: string) => void;
}

export interface FuzzReport {
  readonly inputs: number;
  readonly cases: number;
  /** Exchanges of the canary. */
  readonly exchanges: number;
  /** Memory of the server, as a sentence. */
  readonly memory: string;
  /** Faults, each with the command that repeats it; empty when there are none. */
  readonly findings: readonly string[];
}

/**
 * Attacks a server of its own with inputs of all protocols, while a canary uses it. The seed and the
 * number of a case determine its bytes, except tokens and ids.
 */
export function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  return startAllOrNothing(async (started) => {
    const target = await startTarget();
    started.push(() => target.stop());
    const canary = await startCanary(target);
    started.push(() => canary.close());
    const report = await attackTarget(options, target, canary);
    await started.stop();
    return report;
  });
}

/** Attacks a server. When the server ends, the report names the cases that were being sent. */
export async function attackTarget(
  { count, seed, only, print }: FuzzOptions,
  target: Target,
  canary: Canary,
): Promise<FuzzReport> {
  const findings: string[] = [];
  /** The latest cases: when the server ends, one of them is the cause. */
  const latest: number[] = [];
  const memory = new MemoryWatch(target);
  const last = only === undefined ? casesFor(count) : only + 1;
  let next = only ?? 0;
  let cases = 0;
  let inputs = 0;
  let exchanges = 0;
  let exchanging = Promise.resolve();
  let ended = false;

  function report(line: string): void {
    findings.push(line);
    print(line);
  }

  function found(problem: unknown, number: number): void {
    // All failures from now on are caused by the missing server.
    if (ended) return;
    const name = ATTACKS[number % ATTACKS.length]!.name;
    const text = problem instanceof Finding ? problem.message : String((problem as Error).stack);
    report(
      `case ${number} (${name}): ${text}\n  repeat: npm run fuzz -- --seed ${seed} --case ${number}`,
    );
  }

  const watching = target.ended().then((lastLines) => {
    ended = true;
    const when = latest.length === 0 ? `before case ${next}` : `at one of ${latest.join(", ")}`;
    const line = `the server of seed ${seed} ended ${when}. Its last lines:`;
    const repeat = `repeat each: npm run fuzz -- --seed ${seed} --case ${latest[0] ?? next}`;
    report([line, ...lastLines, repeat].join("\n  "));
  });

  /** Runs one exchange of the canary at a time, and then checks the server's memory and log. */
  function exchange(number: number): void {
    exchanging = exchanging
      .then(async () => {
        await canary.exchange();
        exchanges++;
        await memory.sample();
        const faults = target.takeFaults();
        if (faults.length > 0) {
          throw new Finding(`near this case the server printed:\n  ${faults.join("\n  ")}`);
        }
      })
      .catch((problem) => {
        if (findings.length < MAX_FINDINGS) found(problem, number);
      });
  }

  async function lane(victim: Victim): Promise<void> {
    while (next < last && findings.length < MAX_FINDINGS && !ended) {
      const number = next++;
      const { run, inputs: size } = ATTACKS[number % ATTACKS.length]!;
      latest.push(number);
      if (latest.length > 2 * LANES) latest.shift();
      await run(new Random(seed, number), victim).catch((problem) => found(problem, number));
      cases += 1;
      inputs += size;
      if (cases % CASES_PER_EXCHANGE === 0) exchange(number);
    }
  }

  const attacking = (async () => {
    const users = await people(target, ...Array.from({ length: LANES }, (_, at) => `lane${at}`));
    const victims = await Promise.all(
      users.map(async (user) => {
        const { accessToken: token } = await user.login();
        return { target, token, userId: user.userId };
      }),
    );
    await Promise.all(victims.map(lane));
    exchange(last - 1);
    await exchanging;
  })();
  const failed = (problem: Error) => {
    if (!ended) report(`before case ${next} of seed ${seed}: ${problem.stack}`);
  };
  // A login or a case may wait for a server that has ended.
  await Promise.race([watching, attacking.catch(failed)]);
  const growth = memory.growth();
  if (growth !== undefined) findings.push(growth);
  return { inputs, cases, exchanges, memory: memory.summary(), findings };
}

/** Cases with at least `count` inputs in all. */
function casesFor(count: number): number {
  let inputs = 0;
  let cases = 0;
  for (; inputs < count; cases++) inputs += ATTACKS[cases % ATTACKS.length]!.inputs;
  return cases;
}
