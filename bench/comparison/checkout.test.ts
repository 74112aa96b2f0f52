import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, realpathSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { checkOut, describeTree, resolveCommit } from "./checkout.ts";

/** A repository with a bench in its only commit, and packages. */
async function repositoryOf(t: TestContext, files: Record<string, string> = {}): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "lucky-checkout-test-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  const all = {
    "package-lock.json": "{}",
    "bench/main.ts": "",
    ".gitignore": "node_modules/\n",
    ...files,
  };
  for (const [name, text] of Object.entries(all)) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), text);
  }
  await mkdir(join(root, "node_modules"));
  git(root, "init", "--quiet");
  git(root, "add", ".");
  git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Begin");
  return root;
}

function git(root: string, ...args: string[]): string {
  return execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
}

test("a checkout has the sources of its commit and shared packages, and is removed completely", async (t) => {
  const root = await repositoryOf(t);
  const commit = await resolveCommit(root, "HEAD");
  await writeFile(join(root, "bench/main.ts"), "changed");
  const checkout = await checkOut(root, commit);
  assert.equal(await readFile(join(checkout.root, "bench/main.ts"), "utf8"), "");
  const packages = join(checkout.root, "node_modules");
  assert.ok(lstatSync(packages).isSymbolicLink());
  assert.equal(realpathSync(packages), realpathSync(join(root, "node_modules")));
  checkout.remove();
  checkout.remove();
  assert.equal(existsSync(dirname(checkout.root)), false);
  assert.ok(existsSync(join(root, "node_modules")), "the shared packages must stay");
  assert.equal(git(root, "worktree", "list").split("\n").length, 1);
});

test("npm ci installs the packages of another package-lock.json, and its failure shows its output", async (t) => {
  const lock = { name: "bench", version: "1.0.0", lockfileVersion: 3, packages: {} };
  const root = await repositoryOf(t, {
    "package.json": JSON.stringify({ name: lock.name, version: lock.version }),
    "package-lock.json": JSON.stringify(lock),
  });
  await writeFile(join(root, "package-lock.json"), JSON.stringify(lock, undefined, 2));
  const checkout = await checkOut(root, await resolveCommit(root, "HEAD"));
  assert.equal(
    lstatSync(join(checkout.root, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink() ??
      false,
    false,
  );
  checkout.remove();

  const broken = await repositoryOf(t);
  await writeFile(join(broken, "package-lock.json"), "[]");
  const failing = checkOut(broken, await resolveCommit(broken, "HEAD"));
  await assert.rejects(failing, /npm ci failed in the other commit \(\d+\):\n.*npm/s);
  assert.equal(git(broken, "worktree", "list").split("\n").length, 1);
});

test("a commit without a bench is refused, and its worktree is removed", async (t) => {
  const root = await repositoryOf(t);
  git(root, "rm", "--quiet", "bench/main.ts");
  git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Remove");
  await assert.rejects(checkOut(root, await resolveCommit(root, "HEAD")), /has no bench/);
  assert.equal(git(root, "worktree", "list").split("\n").length, 1);
});

test("a changed working tree is described as its commit with uncommitted changes", async (t) => {
  const root = await repositoryOf(t);
  const commit = await resolveCommit(root, "HEAD");
  assert.equal(await describeTree(root), commit);
  await writeFile(join(root, "bench/main.ts"), "changed");
  assert.equal(await describeTree(root), `${commit} with uncommitted changes`);
});

test("a folder outside of git is refused with an error for the user", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "lucky-checkout-test-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await assert.rejects(resolveCommit(folder, "HEAD"), /to be a git repository/);
});

/** Checks out the commit of the repository in argv, prints the folder, and waits for a signal like the bench. */
const WAITING = `
  import { checkOut, resolveCommit } from ${JSON.stringify(new URL("./checkout.ts", import.meta.url).href)};
  process.once("SIGINT", () => process.exit(1));
  const root = process.argv[1];
  const checkout = await checkOut(root, await resolveCommit(root, "HEAD"));
  console.log(checkout.root);
  setInterval(() => {}, 1_000);
`;

test("a checkout is removed when the process is interrupted", async (t) => {
  const root = await repositoryOf(t);
  const args = [
    "--disable-warning=ExperimentalWarning",
    "--input-type=module",
    "-e",
    WAITING,
    root,
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
  const checkout = line.trim();
  assert.ok(existsSync(checkout));
  child.kill("SIGINT");
  await once(child, "exit");
  assert.equal(existsSync(dirname(checkout)), false);
  assert.equal(git(root, "worktree", "list").split("\n").length, 1);
});
