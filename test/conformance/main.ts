/**
 * Runs the shared scenario and the shared vectors with the TypeScript client. Environment: LUCKY_URL,
 * LUCKY_NETWORK_URL (control of the network), LUCKY_CONFORMANCE (folder).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { Play } from "./play.ts";
import type { Json } from "./values.ts";
import { checkVector, type Vector } from "./vectors.ts";

function read<T>(name: string): T[] {
  return parse(readFileSync(join(process.env.LUCKY_CONFORMANCE ?? "", name), "utf8"));
}

let passed = 0;

async function run(title: string, check: () => unknown): Promise<void> {
  try {
    await check();
  } catch (error) {
    throw new Error(`${title}: ${error instanceof Error ? error.message : error}`);
  }
  passed++;
  console.log("ok", passed, title);
}

const play = new Play(process.env.LUCKY_URL ?? "", process.env.LUCKY_NETWORK_URL ?? "");
try {
  for (const vector of read<Vector>("vectors.yaml"))
    await run(`vector "${vector.title}"`, () => checkVector(vector));
  for (const step of read<Record<string, Json>>("scenario.yaml"))
    await run(`step "${step.title}"`, () => play.step(step));
  if (passed === 0) throw new Error("no step ran");
  console.log(`${passed} passed, 0 failed`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await play.end();
}
