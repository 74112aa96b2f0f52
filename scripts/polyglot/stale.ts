import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Hashes of the generated files that are committed, by their paths. */
export function hashesOf(clients: string): Map<string, string> {
  const patterns = ["lucky.binpb", "go/gen/**/*.go", "python/lucky/**/*_pb2*.py*"];
  const paths = globSync(patterns, { cwd: clients, exclude: ["**/__pycache__"] });
  const hash = (path: string) =>
    createHash("sha256")
      .update(readFileSync(join(clients, path)))
      .digest("hex");
  return new Map(paths.map((path) => [path, hash(path)]));
}

/** Paths of the files that differ. */
export function differences(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].filter((path) => before.get(path) !== after.get(path)).sort();
}
