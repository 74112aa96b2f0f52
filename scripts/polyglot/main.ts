/**
 * Builds all clients and runs their conformance runners against a server in one process and against
 * the mesh. `npm run test:polyglot -- go java` takes only these languages.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import pLimit from "p-limit";
import { parse } from "yaml";
import { type Mode, startWorld } from "../../test/world/world.ts";
import { tryRun } from "./commands.ts";
import { writeClientContract } from "./contract.ts";
import { clients, contract, type Language, languages, root } from "./languages.ts";
import { type Network, startNetwork } from "./network.ts";
import { sabotages, withSabotage } from "./sabotage.ts";
import { differences, hashesOf } from "./stale.ts";

// The installer of Go puts it there, and leaves the PATH to the user.
process.env.PATH += ":/usr/local/go/bin";

const folder = join(root, "test/conformance");
const RUN_TIMEOUT_MS = 300_000;
/** Runners at the same time; two cores suffice, as runners mostly wait. */
const CONCURRENCY = 2;

interface Row {
  readonly title: string;
  readonly passed: number;
  readonly failed: number;
  readonly seconds: number;
}

const rows: Row[] = [];

async function timed(title: string, work: () => Promise<number>): Promise<void> {
  const startedAt = performance.now();
  const row = (passed: number, failed: number) => {
    const seconds = (performance.now() - startedAt) / 1_000;
    rows.push({ title, passed, failed, seconds });
    console.log(`${failed === 0 ? "✔" : "✖"} ${title} (${seconds.toFixed(1)} s)`);
  };
  try {
    row(await work(), 0);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    row(0, 1);
  }
}

/** Steps and vectors that every runner has to pass. */
function expectedCount(): number {
  const count = (name: string) => parse(readFileSync(join(folder, name), "utf8")).length;
  return count("vectors.yaml") + count("scenario.yaml");
}

function play({ runner: [program, ...args] }: Language, network: Network, conformance: string) {
  const env = {
    LUCKY_URL: network.url,
    LUCKY_NETWORK_URL: network.controlUrl,
    LUCKY_CONFORMANCE: conformance,
  };
  return tryRun(program, args, { env, timeoutMs: RUN_TIMEOUT_MS });
}

async function conforms(language: Language, serverUrl: string): Promise<number> {
  const network = await startNetwork(serverUrl);
  try {
    const { code, output } = await play(language, network, folder);
    const passed = Number(/^(\d+) passed, 0 failed$/m.exec(output)?.[1] ?? 0);
    const expected = expectedCount();
    if (code !== 0 || passed !== expected || expected === 0)
      throw new Error(`${output.slice(-4_000)}\n${passed} of ${expected} steps passed`);
    return passed;
  } finally {
    await network.close();
  }
}

/** Proves that a runner can fail. */
async function refusesSabotage(language: Language, serverUrl: string): Promise<number> {
  const network = await startNetwork(serverUrl);
  try {
    for (const sabotage of sabotages) {
      const { code, output } = await withSabotage(sabotage, (broken) =>
        play(language, network, broken),
      );
      if (code === 0 || !sabotage.says.test(output))
        throw new Error(`${language.name} takes ${sabotage.title} (${code}): ${output}`);
    }
    return sabotages.length;
  } finally {
    await network.close();
  }
}

async function inMode(mode: Mode, chosen: readonly Language[]): Promise<void> {
  const closes: (() => Promise<void>)[] = [];
  try {
    const world = await startWorld({ after: (close) => closes.push(close) }, { mode });
    const limit = pLimit(CONCURRENCY);
    const works = chosen.map((language) =>
      limit(() => timed(`${language.name}, ${mode}`, () => conforms(language, world.url))),
    );
    if (mode === "embedded")
      for (const language of chosen)
        works.push(
          limit(() =>
            timed(`${language.name} fails on broken scenarios`, () =>
              refusesSabotage(language, world.url),
            ),
          ),
        );
    await Promise.all(works);
  } finally {
    for (const close of closes.reverse()) await close();
  }
}

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.filter((name) => !languages.some((language) => language.name === name));
  if (unknown.length > 0) throw new Error(`Unknown language: ${unknown.join(", ")}`);
  const chosen = languages.filter(({ name }) => names.length === 0 || names.includes(name));
  const before = hashesOf(clients);
  await timed("contract of the clients", async () => {
    writeClientContract(root, contract);
    return 1;
  });
  for (const language of chosen)
    await timed(`${language.name}, generate`, () => language.generate().then(() => 1));
  await timed("the committed code of the clients is up to date", async () => {
    const stale = differences(before, hashesOf(clients));
    if (stale.length > 0)
      throw new Error(`Stale, and regenerated now. Commit them:\n${stale.join("\n")}`);
    return 1;
  });
  for (const language of chosen)
    await timed(`${language.name}, build`, () => language.build().then(() => 1));
  for (const mode of ["embedded", "mesh"] as const)
    await timed(`servers, ${mode}`, () => inMode(mode, chosen).then(() => 1));
}

await main(process.argv.slice(2));
console.log("");
for (const { title, passed, failed, seconds } of rows)
  console.log(
    `${failed === 0 ? "✔" : "✖"} ${title.padEnd(52)} ${String(passed).padStart(4)} passed ${seconds.toFixed(1).padStart(6)} s`,
  );
const sum = (of: (row: Row) => number) => rows.reduce((total, row) => total + of(row), 0);
const passed = sum(({ passed }) => passed);
const failed = sum(({ failed }) => failed);
console.log(`ℹ tests ${passed + failed}\nℹ pass ${passed}\nℹ fail ${failed}`);
console.log("ℹ skipped 0\nℹ todo 0");
process.exitCode = failed === 0 ? 0 : 1;
