import { execFile, execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { chmod, mkdtemp, readFile, realpath, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { runProgram } from "../command/program.ts";

const run = promisify(execFile);

/** Sources of one commit in a separate folder, with their packages. */
export interface Checkout {
  readonly root: string;
  /** Deletes the folder and its entry in the repository. Idempotent. */
  remove(): void;
}

/** The full hash of a commit. Throws an error for the user when the repository has no such commit. */
export async function resolveCommit(repository: string, ref: string): Promise<string> {
  await requireRepository(repository);
  const args = ["rev-parse", "--verify", "--quiet", "--end-of-options", `${ref}^{commit}`];
  try {
    const { stdout } = await run("git", args, { cwd: repository });
    return stdout.trim();
  } catch {
    // With these options git fails only for a missing commit, and prints nothing.
    throw new Error(`--against: this repository has no commit "${ref}"`);
  }
}

/** The commit of a working tree, and whether it has changes that are not committed. */
export async function describeTree(repository: string): Promise<string> {
  const commit = await resolveCommit(repository, "HEAD");
  const { stdout } = await run("git", ["status", "--porcelain"], { cwd: repository });
  return stdout.trim() === "" ? commit : `${commit} with uncommitted changes`;
}

/**
 * Checks a commit out into a temporary folder, as a git worktree. The checkout shares the packages of
 * `repository` by a symbolic link when both have the same package-lock.json; else `npm ci` installs its own
 * packages. `remove` deletes the folder; a failed step and the exit of this process delete it too.
 */
export async function checkOut(repository: string, commit: string): Promise<Checkout> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-ratio-"));
  const root = join(folder, "lucky");
  const remove = () => {
    process.off("exit", remove);
    removeWorktree({ repository, root, folder });
  };
  process.once("exit", remove);
  try {
    // PostgreSQL runs under another account when this runs as root, and may come from this folder.
    await chmod(folder, 0o711);
    await run("git", ["worktree", "add", "--detach", "--quiet", root, commit], { cwd: repository });
    if (!existsSync(join(root, "bench/main.ts"))) {
      throw new Error(`commit ${commit} has no bench: it has no bench/main.ts`);
    }
    await providePackages(repository, root);
    return { root, remove };
  } catch (error) {
    remove();
    throw error;
  }
}

async function requireRepository(repository: string): Promise<void> {
  try {
    await run("git", ["rev-parse", "--git-dir"], { cwd: repository });
  } catch (cause) {
    const text = `a comparison needs git, and ${repository} to be a git repository`;
    throw new Error(text, { cause });
  }
}

async function providePackages(repository: string, root: string): Promise<void> {
  const [ours, theirs] = await Promise.all(
    [repository, root].map((folder) =>
      readFile(join(folder, "package-lock.json"), "utf8").catch(() => ""),
    ),
  );
  if (ours === theirs) {
    const packages = await realpath(join(repository, "node_modules"));
    await symlink(packages, join(root, "node_modules"), "dir");
    return;
  }
  console.log("package-lock.json differs: npm ci installs the packages of the other commit");
  const args = ["ci", "--no-audit", "--no-fund"];
  const { end, output } = await runProgram({ program: "npm", args, cwd: root, errors: "keep" });
  if (end !== 0) throw new Error(`npm ci failed in the other commit (${end}):\n${output}`);
}

/** Synchronous, so that it also works while the process exits. */
function removeWorktree(at: { repository: string; root: string; folder: string }): void {
  const git = (...args: string[]) => {
    try {
      execFileSync("git", args, { cwd: at.repository, stdio: "ignore" });
    } catch {
      // The worktree was not added yet: only the folder has to be deleted.
    }
  };
  git("worktree", "remove", "--force", "--force", at.root);
  rmSync(at.folder, { recursive: true, force: true });
  // Drops the entry of a worktree whose folder git could not remove itself.
  git("worktree", "prune");
}
