import { globSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { build } from "esbuild";
import { importsOf, resolveImport } from "../architecture/sources.ts";

const root = join(import.meta.dirname, "../..");
const page = (name: string) => join(import.meta.dirname, "page", name);

/** Modules of Node that a page has a replacement for. */
const REPLACED: Readonly<Record<string, string>> = {
  "node:test": page("node-test.ts"),
  "node:assert/strict": page("assert.ts"),
  "node:timers/promises": page("timers.ts"),
};

/** Packages that run in a browser. */
const PACKAGES = /^@(bufbuild\/protobuf|connectrpc\/[a-z-]+)(\/|$)/;

/** Tests of the client that need nothing of Node, or a browser. */
export function portableTests(): string[] {
  return globSync("client/**/*.test.ts", { cwd: root, exclude: ["client/dist/**"] })
    .filter((path) => isPortable(path, new Set()))
    .sort();
}

function isPortable(path: string, seen: Set<string>): boolean {
  if (seen.has(path)) return true;
  seen.add(path);
  const code = readFileSync(join(root, path), "utf8").replace(/^import type [^;]*;/gm, "");
  return importsOf(code).every((name) => {
    if (name in REPLACED || PACKAGES.test(name)) return true;
    const file = posix.normalize(resolveImport(path, name));
    return /^(client|gen|test)\//.test(file) && isPortable(file, seen);
  });
}

/** A script that registers the tests and gives `luckyTests` to the page. */
export function bundleTests(paths: readonly string[]): Promise<string> {
  const tests = paths.map((path) => `import ${JSON.stringify(join(root, path))};`);
  return bundle(
    `import ${JSON.stringify(page("timers.ts"))};
    ${tests.join("\n")}
    import { runTest, testNames } from ${JSON.stringify(page("node-test.ts"))};
    globalThis.luckyTests = { runTest, testNames };`,
  );
}

/** A script that gives the client, and the devices of a page, to the page. */
export function bundleDevice(): Promise<string> {
  return bundle(`import ${JSON.stringify(page("device.ts"))};`);
}

async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root },
    absWorkingDir: root,
    alias: REPLACED,
    bundle: true,
    // The package of the client says that its modules have no side effects: its tests have.
    ignoreAnnotations: true,
    format: "iife",
    platform: "browser",
    sourcemap: "inline",
    write: false,
  });
  return outputFiles[0]!.text;
}
