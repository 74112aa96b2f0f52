import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import pLimit from "p-limit";

const USAGE = "npm test -- [file or glob ...]";

const FILES = "{platform,services,client,bench,scripts,test}/**/!(*.mesh|*.browser).test.ts";

/** Maximum concurrent processes; two cores suffice, as tests mostly wait for I/O. */
const PROCESSES = 3;

/** Maximum files that share a process: loading the modules takes longer than most tests. */
const FILES_PER_PROCESS = 8;

/** Paths of the slowest files, slowest first: they start first, so that none runs alone at the end. */
const LONGEST = ["test/model/", "test/start.", "test/fuzz/", "bench/scenarios/", "test/"];

/** Compiled modules, shared by the processes: loading takes a fifth less time. */
const COMPILE_CACHE = join(import.meta.dirname, "../node_modules/.cache/lucky-compile");

const NODE = [
  "--disable-warning=ExperimentalWarning",
  "--test",
  "--experimental-test-isolation=none",
  // A test that hangs is named in the report.
  "--test-timeout=600000",
  "--test-reporter=spec",
];

/** Groups the files by process, the slowest groups first. */
function groupsOf(files: readonly string[]): string[][] {
  const groups: string[][] = [];
  for (const [folder, roomFiles] of Map.groupBy(files, roomOf)) {
    // These files start whole systems. An idle system would use the CPU while others are tested.
    const size = folder === "test" ? 1 : FILES_PER_PROCESS;
    for (let at = 0; at < roomFiles.length; at += size) groups.push(roomFiles.slice(at, at + size));
  }
  const rank = ([first = ""]: string[]) => {
    const at = LONGEST.findIndex((prefix) => first.startsWith(prefix));
    return at < 0 ? LONGEST.length : at;
  };
  return groups.sort((a, b) => rank(a) - rank(b));
}

/** The room of a file, such as "services/auth"; "test" for all files in that folder. */
function roomOf(file: string): string {
  const [top = "", next = ""] = file.split("/");
  return top === "test" ? top : `${top}/${next}`;
}

/** Runs files in one process and prints its report when it ends. */
async function run(files: readonly string[]) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...NODE, ...files], {
    env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<number>((resolve) => {
    child.once("close", (code) => resolve(code ?? 1));
  });
  const [report, errors, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  const seconds = (performance.now() - startedAt) / 1_000;
  console.log(`${files.join("\n")}\n${report}${errors}`);
  return { files, code, seconds, tests: Number(/^ℹ tests (\d+)$/m.exec(report)?.[1] ?? 0) };
}

const patterns = process.argv.slice(2);
const files = globSync(patterns.length > 0 ? patterns : [FILES]).sort();
if (files.length === 0) throw new Error(`No test file matches. Usage: ${USAGE}`);
const startedAt = performance.now();
const limit = pLimit(PROCESSES);
const results = await Promise.all(groupsOf(files).map((group) => limit(run, group)));
const seconds = Math.round((performance.now() - startedAt) / 1_000);

console.log("The processes that took longest:");
for (const { files, seconds } of results.toSorted((a, b) => b.seconds - a.seconds).slice(0, 10))
  console.log(
    `${seconds.toFixed(1).padStart(7)} s  ${files[0]}${files.length > 1 ? ` and ${files.length - 1} more` : ""}`,
  );
const tests = results.reduce((sum, result) => sum + result.tests, 0);
const failed = results.filter(({ code }) => code !== 0);
console.log(
  `${tests} tests of ${files.length} files in ${seconds} s; ${failed.length} processes failed.`,
);
for (const { files } of failed) console.error(`✗ ${files.join(" ")}`);
process.exitCode = failed.length === 0 ? 0 : 1;
