import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { text } from "node:stream/consumers";
import pLimit from "p-limit";

const USAGE = "npm test -- [file or glob ...]";

const FILES = "{platform,services,client,bench,scripts,test}/**/!(*.mesh).test.ts";

/** Processes at the same time: tests wait for PostgreSQL and sockets, so more than one per core. */
const PROCESSES = 3;

/** Files that share a process: loading the modules takes longer than most tests. */
const FILES_PER_PROCESS = 8;

/** Files that run for longest start first, so that no process is left over at the end. */
const LONGEST = ["test/model/", "test/start.", "test/fuzz/", "bench/scenarios/", "test/"];

const NODE = [
  "--disable-warning=ExperimentalWarning",
  "--test",
  "--experimental-test-isolation=none",
  // A test that hangs is named in the report.
  "--test-timeout=600000",
  "--test-reporter=spec",
];

/** The files of each process. */
function groupsOf(files: readonly string[]): string[][] {
  const groups: string[][] = [];
  for (const [folder, theirs] of Map.groupBy(files, roomOf)) {
    // These start whole systems. An idle one would poll while the others are tested.
    const size = folder === "test" ? 1 : FILES_PER_PROCESS;
    for (let at = 0; at < theirs.length; at += size) groups.push(theirs.slice(at, at + size));
  }
  const rank = ([first = ""]: string[]) => {
    const at = LONGEST.findIndex((prefix) => first.startsWith(prefix));
    return at < 0 ? LONGEST.length : at;
  };
  return groups.sort((a, b) => rank(a) - rank(b));
}

/** "services/auth" for a file anywhere in that folder. */
function roomOf(file: string): string {
  const [top = "", next = ""] = file.split("/");
  return top === "test" ? top : `${top}/${next}`;
}

/** Runs files in one process and prints its report when it ends. */
async function run(files: readonly string[]) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...NODE, ...files], { stdio: ["ignore", "pipe", "pipe"] });
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
if (files.length === 0) throw new Error(`no files: ${USAGE}`);
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
