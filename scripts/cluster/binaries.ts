import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

/**
 * Builds the binaries that are missing in the cache (all of them when none is named), with its output on the
 * terminal. Returns a function that gives the path of a binary.
 */
export function buildBinaries(...names: readonly string[]): (name: string) => string {
  const output = execFileSync(join(import.meta.dirname, "build"), names, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  const folder = output.trim();
  return (name) => join(folder, name);
}

/** The kubectl of this machine, or else the one in the cache. Throws an error for users without both. */
export function findKubectl(): string {
  const cache = process.env.LUCKY_CLUSTER_CACHE || join(homedir(), ".cache/lucky/cluster");
  const folders = [...(process.env.PATH ?? "").split(delimiter), join(cache, "bin-v1.34.4")];
  const found = folders.map((folder) => join(folder, "kubectl")).find((path) => existsSync(path));
  if (found) return found;
  throw new Error(
    "kubectl, which renders k8s/, is not installed: install it, or build it with Go: scripts/cluster/build kubectl",
  );
}
