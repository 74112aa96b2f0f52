import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { build, transform } from "esbuild";
import { startWorld } from "../world/world.ts";

const root = join(import.meta.dirname, "../..");
const run = promisify(execFile);
const bin = (name: string) => join(root, "node_modules/.bin", name);

/** An empty project into which the packed client is installed, without a network. */
let project = "";
let packed: string[] = [];

before(async () => {
  project = await mkdtemp(join(tmpdir(), "lucky-client-"));
  const pack = await run("npm", ["pack", "./client", "--json", "--pack-destination", project], {
    cwd: root,
  });
  const [{ filename, files }] = JSON.parse(pack.stdout);
  packed = files.map(({ path }: { path: string }) => path);
  await writeFile(join(project, "package.json"), '{ "type": "module", "private": true }');
  const { dependencies } = JSON.parse(await readFile(join(root, "client/package.json"), "utf8"));
  const locked = Object.keys(dependencies).map((name) => join(root, "node_modules", name));
  const install = ["install", "--offline", "--install-links", "--ignore-scripts", "--no-audit"];
  await run("npm", [...install, "--no-fund", join(project, filename), ...locked], { cwd: project });
});
after(() => rm(project, { recursive: true, force: true }));

/** The examples of the README, in order. */
async function examples(): Promise<string[]> {
  const readme = await readFile(join(root, "client/README.md"), "utf8");
  return [...readme.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code = ""]) => code);
}

test("the package has compiled code, types and the public contract, and nothing else", () => {
  for (const path of ["README.md", "dist/client/index.js", "dist/client/index.d.ts"])
    assert.ok(packed.includes(path), path);
  assert.ok(packed.includes("dist/gen/lucky/group/v1/group_pb.js"));
  const other = /internal|prisma|\.test\.|\.fixture\.|\.suite\.|(?<!\.d)\.ts$/;
  assert.deepEqual(
    packed.filter((path) => other.test(path)),
    [],
  );
});

test("the package and its dependencies have the versions of this repository", async () => {
  const [own, whole] = await Promise.all(
    ["client/package.json", "package.json"].map(async (path) =>
      JSON.parse(await readFile(join(root, path), "utf8")),
    ),
  );
  for (const [name, version] of Object.entries(own.dependencies))
    assert.equal(version, whole.dependencies[name], name);
  const hello = await readFile(join(root, "client/connection/hello.ts"), "utf8");
  assert.ok(hello.includes(`version: "${own.version}"`), "client/connection/hello.ts");
});

test("Node imports the installed package", async () => {
  const script = `
    import { LuckyClient, ErrorReason } from "@lucky-im/client";
    import { GroupService } from "@lucky-im/client/gen/lucky/group/v1/group_pb.js";
    const client = new LuckyClient({ url: "http://127.0.0.1:1", device: { deviceId: "a", deviceClass: 1 } });
    console.log(client.state.kind, ErrorReason[1], GroupService.typeName);`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", script], {
    cwd: project,
  });
  assert.equal(stdout.trim(), "closed INTERNAL lucky.group.v1.GroupService");
});

test("the examples of the README have correct types, for Node and for a bundler", async () => {
  const files = (await examples()).map((_, at) => `example-${at}.ts`);
  assert.equal(files.length, 3);
  for (const [at, code] of (await examples()).entries())
    await writeFile(join(project, files[at]!), code);
  const types = [
    "--noEmit",
    "--strict",
    "--target",
    "es2022",
    "--lib",
    "es2022,dom",
    "--types",
    "",
  ];
  for (const module of [
    ["--module", "nodenext"],
    "--module esnext --moduleResolution bundler".split(" "),
  ])
    await run(bin("tsc"), [...types, ...module, ...files], { cwd: project }).catch((error) =>
      assert.fail(error.stdout),
    );
});

test("a bundler makes a page of the package, without Node's modules", async () => {
  const { outputFiles, warnings } = await build({
    stdin: { contents: (await examples())[1]!, resolveDir: project, loader: "ts" },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  assert.deepEqual(warnings, []);
  assert.ok(outputFiles[0]!.contents.length < 300_000, "the page loads too much");
});

test("the first example of the README works", async (t) => {
  const world = await startWorld(t, { mode: "embedded" });
  const [example = ""] = await examples();
  assert.ok(example.split("\n").length <= 14, "the first example is long");
  const { code } = await transform(example, { loader: "ts" });
  const file = join(project, "example.js");
  await writeFile(file, code.replace("http://127.0.0.1:9191", world.url));
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => void child.kill());
  const printed = once(child.stdout, "data");
  const ended = once(child, "exit").then(([status]) => assert.fail(`ended with ${status}`));
  const [output] = await Promise.race([printed, ended]);
  assert.match(String(output), /hi/);
  ended.catch(() => {});
});
