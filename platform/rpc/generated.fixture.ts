import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { DescFile, DescService } from "@bufbuild/protobuf";

/** Finds every service in the generated files of the contract, ordered by full name. */
export async function generatedServices(): Promise<DescService[]> {
  const folder = join(import.meta.dirname, "../../gen/lucky");
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const found: DescService[] = [];
  for (const name of names.filter((file) => file.endsWith("_pb.js"))) {
    const module: Record<string, unknown> = await import(join(folder, name));
    const files = Object.entries(module).filter(([key]) => key.startsWith("file_"));
    for (const [, desc] of files) found.push(...(desc as DescFile).services);
  }
  return found.sort((a, b) => (a.typeName < b.typeName ? -1 : 1));
}
