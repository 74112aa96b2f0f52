/**
 * Compiles the TypeScript client into client/dist, with the generated code of the public contract: what
 * `npm pack` of client/ packs. Prints the size that the client adds to a web page.
 */
import { execFileSync } from "node:child_process";
import { globSync } from "node:fs";
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = join(import.meta.dirname, "../..");
const dist = join(root, "client/dist");

await rm(dist, { recursive: true, force: true });
const tsc = join(root, "node_modules/.bin/tsc");
execFileSync(tsc, ["-p", join(root, "client/tsconfig.package.json")], { stdio: "inherit" });
// The compiler rewrites the extensions of imports in JavaScript only.
for (const path of globSync(join(dist, "client/**/*.d.ts"))) {
  const types = await readFile(path, "utf8");
  await writeFile(path, types.replaceAll(/((?:from |import\()"\.[^"]+)\.ts"/g, '$1.js"'));
}
for (const folder of ["buf", "lucky"])
  await cp(join(root, "gen", folder), join(dist, "gen", folder), {
    recursive: true,
    filter: (path) => path !== join(root, "gen/lucky/internal"),
  });
await cp(join(root, "LICENSE"), join(dist, "LICENSE"));

const { outputFiles } = await build({
  entryPoints: [join(dist, "client/index.js")],
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  write: false,
});
const bytes = outputFiles[0]!.contents;
const kib = (size: number) => `${(size / 1_024).toFixed(0)} KiB`;
console.error(`In a web page: ${kib(bytes.length)}, ${kib(gzipSync(bytes).length)} with gzip.`);
