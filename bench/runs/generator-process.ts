import { join } from "node:path";
import type { GeneratorApi } from "../generator/api.ts";
import { raisePriority } from "../machine/priority.ts";
import { CalledProcess } from "../processes/called-process.ts";

/** A generator as a child process. */
export type GeneratorProcess = CalledProcess<GeneratorApi>;

/** Starts a generator. */
export function startGenerator(): GeneratorProcess {
  const file = join(import.meta.dirname, "../generator/main.ts");
  const child = new CalledProcess<GeneratorApi>(file, "a generator");
  raisePriority(child.pid, "the generator");
  return child;
}
