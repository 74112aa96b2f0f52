/**
 * `npm run profile -- <scenario> [flags]`: runs a scenario of the bench with the CPU profiler in every
 * process of the servers, stores the profiles under data/profiles (Chrome's developer tools open them), and
 * prints the functions of each process that used the most CPU time.
 */
import { spawnSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const TOP = Number(process.env.TOP ?? 20);

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Self time of functions (without their callees), milliseconds, largest first. */
export function topFunctions(profile: Profile, count: number): [name: string, ms: number][] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const file = url.startsWith("file://") ? relative(root, new URL(url).pathname) : url;
      const place = file === "" ? "" : ` ${file}:${lineNumber + 1}`;
      return [id, `${functionName || "(anonymous)"}${place}`];
    }),
  );
  const spent = new Map<string, number>();
  for (const [index, id] of profile.samples.entries()) {
    const name = names.get(id) ?? "?";
    spent.set(name, (spent.get(name) ?? 0) + (profile.timeDeltas[index] ?? 0) / 1_000);
  }
  return [...spent].sort(([, a], [, b]) => b - a).slice(0, count);
}

async function main(args: readonly string[]): Promise<void> {
  const folder = join(root, "data/profiles", new Date().toISOString().replaceAll(":", "-"));
  await mkdir(folder, { recursive: true });
  const { status } = spawnSync(process.execPath, [join(root, "bench/main.ts"), ...args], {
    stdio: "inherit",
    env: { ...process.env, BENCH_NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${folder}` },
  });
  process.exitCode = status ?? 1;
  for (const name of await readdir(folder)) {
    const profile = JSON.parse(await readFile(join(folder, name), "utf8")) as Profile;
    const totalMs = profile.timeDeltas.reduce((sum, us) => sum + us / 1_000, 0);
    console.log(`\n${join(folder, name)}`);
    for (const [where, ms] of topFunctions(profile, TOP)) {
      console.log(`  ${((ms / totalMs) * 100).toFixed(1).padStart(5)} %  ${where}`);
    }
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  await main(process.argv.slice(2));
}
