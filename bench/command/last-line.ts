import type { Figures } from "./report.ts";

/** Figures of a run of the bench: the JSON object in the last line of its output; undefined if there is none. */
export function readLastLine(stdout: string): Figures | undefined {
  const line = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line) as Figures;
  } catch {
    return undefined;
  }
}
