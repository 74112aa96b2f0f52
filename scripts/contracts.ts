import { readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { DescFile, DescService } from "@bufbuild/protobuf";

const root = join(import.meta.dirname, "../gen/lucky");

/** Every service of the contracts, found in what is generated from them, ordered by full name. */
export async function allServices(): Promise<DescService[]> {
  const files = readdirSync(root, { recursive: true, encoding: "utf8" });
  const found: DescService[] = [];
  for (const file of files.filter((name) => name.endsWith("_pb.js"))) {
    const module: Record<string, unknown> = await import(pathToFileURL(join(root, file)).href);
    const described = Object.entries(module).filter(([name]) => name.startsWith("file_"));
    for (const [, desc] of described) found.push(...(desc as DescFile).services);
  }
  return found.sort((a, b) => (a.typeName < b.typeName ? -1 : 1));
}
