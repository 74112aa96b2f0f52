/**
 * `npm run buckets`: lists which database of the log has which buckets of conversations, moves buckets
 * while Lucky runs, and gives up one of two copies of a bucket after a restore.
 */
import { realpathSync } from "node:fs";
import { parseArgs } from "node:util";
import { BUCKETS } from "#platform/buckets/bucket.ts";
import { formatBuckets, parseBuckets } from "#platform/buckets/bucket-list.ts";
import { describeLogs, type LogDescription } from "#platform/buckets/describe-logs.ts";
import { closeLogs, type LockedLog, lockLogs, readStates } from "#platform/buckets/locked-logs.ts";
import { moveBuckets } from "#platform/buckets/move.ts";
import { dropIndexes } from "#platform/buckets/moved-tables.ts";
import { BucketState } from "#platform/buckets/placement.ts";
import { giveUpBuckets, isUnfinished, placesOf, resumeMoves } from "#platform/buckets/resume.ts";
import { type PlannedMove, planMove, planSpread } from "#platform/buckets/spread.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { migrateConfig, type PostgresAddress, platformConfig } from "#platform/config/settings.ts";
import { createLog, type Log } from "#platform/log.ts";
import { messageOf } from "#platform/process/process.ts";
import { ownerAddresses } from "./owner-addresses.ts";
import type { Environment } from "./runtime.ts";

const HELP = `npm run buckets -- list                       shows the databases of the log and their buckets
npm run buckets -- move <buckets> --to <n>    moves buckets, such as 0-340,512, to the n-th database
npm run buckets -- spread                     moves buckets until all databases have as many
npm run buckets -- resume                     finishes moves that were killed; move and spread do, too
npm run buckets -- give-up <buckets> --from <n>
                                              after a restore: deletes buckets of the n-th database that
                                              another one has, too
npm run buckets -- --help                     prints this help

The databases are numbered from 1, in the order of LUCKY_POSTGRES_LOG_URLS. Lucky may keep running.
For details, see docs/administration.md, section "Several databases".`;

/** The command in the arguments of `npm run buckets`. */
export type Command =
  | { readonly name: "help" | "list" | "spread" | "resume" }
  | { readonly name: "move"; readonly buckets: readonly number[]; readonly to: number }
  | { readonly name: "give-up"; readonly buckets: readonly number[]; readonly from: number };

/** Reads the arguments. Throws an error for operators. */
export function readCommand(args: readonly string[]): Command {
  const { values, positionals } = parse(args);
  const [name, buckets, ...others] = positionals;
  if (values.help) return { name: "help" };
  const { to, from } = values;
  const isAlone = buckets === undefined && to === undefined && from === undefined;
  if ((name === "list" || name === "spread" || name === "resume") && isAlone) return { name };
  if (buckets !== undefined && others.length === 0) {
    if (name === "move" && to !== undefined && from === undefined)
      return { name, buckets: parseBuckets(buckets), to: numberOf(to) };
    if (name === "give-up" && from !== undefined && to === undefined)
      return { name, buckets: parseBuckets(buckets), from: numberOf(from) };
  }
  throw new Error(`npm run buckets does not know these arguments: ${args.join(" ")}\n\n${HELP}`);
}

/** The number of a database, from 1. */
function numberOf(text: string): number {
  if (!/^[1-9]\d?$/.test(text))
    throw new Error(`"${text}" is not the number of a database: the first one is 1.`);
  return Number(text);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        to: { type: "string" },
        from: { type: "string" },
      },
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}\n\n${HELP}`, { cause: error });
  }
}

/**
 * Runs the arguments of `npm run buckets`; returns the report. The signal stops a move between two
 * steps; it is finished before this rejects. Rejects with an error for operators; then no move is
 * unfinished unless the error says so.
 */
export async function runBuckets(
  args: readonly string[],
  { env, signal }: { readonly env: Environment; readonly signal: AbortSignal },
): Promise<string> {
  const command = readCommand(args);
  if (command.name === "help") return HELP;
  const config = loadConfig(
    { platform: platformConfig, migrate: migrateConfig },
    { env, others: ["limits", "gateway", "auth", "connect", "server"] },
  );
  const addresses = ownerAddresses(config).logs;
  if (addresses[0]!.url === "")
    throw new Error("Set LUCKY_POSTGRES_LOG_URLS to the databases of the log.");
  const { logLevel } = config.platform;
  const log = createLog({ service: "buckets", instanceId: "buckets", level: logLevel });
  if (command.name === "list") return listOf(await describeLogs(addresses));
  const named =
    command.name === "move" ? command.to : command.name === "give-up" ? command.from : 1;
  if (named > addresses.length)
    throw new Error(`There is no database ${named}: the settings name ${addresses.length}.`);
  let report = "";
  await onLocked(addresses, async (logs) => {
    if (command.name === "give-up") {
      const { buckets } = command;
      await giveUpBuckets(logs, { buckets, from: logs[command.from - 1]! });
      report = `Buckets that database ${command.from} gave up: ${buckets.length}.`;
      await resumeMoves(logs, { signal, log });
      return;
    }
    const resumed = await resumeMoves(logs, { signal, log });
    report = `Unfinished moves that were resumed: ${resumed}.`;
    if (command.name === "resume") return;
    const places = (await Promise.all(logs.map(readStates))).map((states) =>
      bucketsIn(states, BucketState.HERE),
    );
    const moves =
      command.name === "move"
        ? planMove(places, { ...command, to: command.to - 1 })
        : planSpread(places);
    report = await moveAll(moves, { addresses, logs, signal, log });
  });
  return report;
}

/** Runs the moves. After a failure, finishes an unfinished move, on new connections. */
async function moveAll(
  moves: readonly PlannedMove[],
  options: {
    readonly addresses: readonly PostgresAddress[];
    readonly logs: readonly LockedLog[];
    readonly signal: AbortSignal;
    readonly log: Log;
  },
): Promise<string> {
  const { addresses, logs, signal, log } = options;
  const total = moves.reduce((sum, { buckets }) => sum + buckets.length, 0);
  let moved = 0;
  const onStep = (step: string) => {
    if (step === "cleaned") moved++;
  };
  try {
    for (const { from, to, buckets } of moves) {
      log.info({ event: "buckets_moving", from: from + 1, to: to + 1, buckets: buckets.length });
      await moveBuckets({ from: logs[from]!, to: logs[to]!, buckets, signal, log, onStep });
    }
    return total === 0 ? "No bucket needs to move." : `Moved buckets: ${total}.`;
  } catch (error) {
    const text = `Moved buckets: ${moved} of ${total}. Then: ${(error as Error).message}`;
    await closeLogs(logs);
    await onLocked(addresses, async (relocked) => {
      await resumeMoves(relocked, { signal: new AbortController().signal, log });
    }).catch((cause: Error) => {
      const rest = `A move is unfinished, and its bucket may be unavailable: ${cause.message}`;
      throw new Error(`${text}\n${rest}\nRun "npm run buckets -- resume" as soon as possible.`, {
        cause,
      });
    });
    throw new Error(`${text}\nNo move is unfinished.`, { cause: error });
  }
}

/** Runs work with all databases locked, then drops the indexes of moves. */
async function onLocked(
  addresses: readonly PostgresAddress[],
  work: (logs: readonly LockedLog[]) => Promise<void>,
): Promise<void> {
  const logs = await lockLogs(addresses);
  try {
    await work(logs);
    for (const { client } of logs) await dropIndexes(client);
  } finally {
    await closeLogs(logs);
  }
}

const bucketsIn = (states: readonly number[], state: number): number[] =>
  [...states.keys()].filter((bucket) => states[bucket] === state);

function listOf(logs: readonly LogDescription[]): string {
  const lines = logs.flatMap(({ address, states, conversations, fault }, at) => {
    const head = `Database ${at + 1}: ${address}`;
    if (states === undefined) return [head, `  cannot be read: ${fault}`];
    const here = bucketsIn(states, BucketState.HERE);
    return [
      head,
      `  ${here.length} buckets, ${conversations} conversations`,
      ...(here.length > 0 ? [`  buckets ${formatBuckets(here)}`] : []),
    ];
  });
  const known = logs.map(({ states }) => states ?? new Array<number>(BUCKETS).fill(0));
  const places = placesOf(known);
  const unfinished = places.filter(isUnfinished).map(({ bucket }) => bucket);
  if (unfinished.length > 0)
    lines.push(
      `Unfinished moves of buckets ${formatBuckets(unfinished)}: npm run buckets -- resume`,
    );
  const doubled = places.filter(({ here }) => here.length > 1).map(({ bucket }) => bucket);
  if (doubled.length > 0)
    lines.push(
      `In several databases: buckets ${formatBuckets(doubled)}: npm run buckets -- give-up`,
    );
  const isMissing = ({ here, moving }: (typeof places)[number]) =>
    here.length + moving.length === 0;
  const missing = places.filter(isMissing).map(({ bucket }) => bucket);
  if (missing.length > 0)
    lines.push(`In no database that can be read: buckets ${formatBuckets(missing)}`);
  return lines.join("\n");
}

/**
 * A signal that aborts at SIGINT, SIGTERM and SIGHUP. Further ones are ignored: npm forwards a second
 * SIGINT after one Ctrl-C.
 */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(name, () => controller.abort(new Error("Interrupted.")));
  return controller.signal;
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  const options = { env: process.env, signal: interruption() };
  await runBuckets(process.argv.slice(2), options).then(
    (report) => console.log(report),
    (error: Error) => {
      console.error(messageOf(error));
      process.exitCode = 1;
    },
  );
}
