import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Teardown } from "../backends/teardown.ts";

/**
 * The version that is in operation while it is updated to this one: the commit of the last release. Replace it at each
 * release, and not before: an update from it must stay possible without a loss until then.
 */
export const FORMER_VERSION = "5dffe90";

const root = join(import.meta.dirname, "../..");

/**
 * Writes the sources of the former version to a temporary folder, with the packages of this one. Throws when the
 * repository lacks the commit, as a shallow clone does.
 */
export function writeFormerVersion(t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), "lucky-former-"));
  t.after(async () => rmSync(folder, { recursive: true, force: true }));
  const git = (...args: string[]) =>
    execFileSync("git", ["-C", root, ...args], { encoding: "utf8", stdio: "pipe" });
  const archive = `${folder}/sources.tar`;
  try {
    git("archive", `--output=${archive}`, FORMER_VERSION);
  } catch (cause) {
    const shallow = "its test needs the history: git fetch --unshallow";
    throw new Error(`The former version, ${FORMER_VERSION}, is not in this clone; ${shallow}`, {
      cause,
    });
  }
  const sources = join(folder, "sources");
  mkdirSync(sources);
  execFileSync("tar", ["-xf", archive, "-C", sources]);
  symlinkSync(join(root, "node_modules"), join(sources, "node_modules"));
  return sources;
}
