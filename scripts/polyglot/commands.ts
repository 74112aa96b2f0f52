import { execFileSync, spawn } from "node:child_process";
import { text } from "node:stream/consumers";

interface RunOptions {
  readonly cwd?: string;
  /** Variables on top of the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** The command is stopped after this time, ms. */
  readonly timeoutMs?: number;
}

/** Result of a command that may fail. */
export interface Ended {
  readonly code: number;
  readonly output: string;
}

const TIMEOUT_MS = 900_000;

/** Runs a command and returns its exit code with all that it printed. */
export async function tryRun(
  program: string,
  args: readonly string[],
  { cwd, env, timeoutMs = TIMEOUT_MS }: RunOptions = {},
): Promise<Ended> {
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 1));
  });
  const [code, output, errors] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, output: output + errors };
}

/** Runs a command. Throws with all that it printed when it fails. */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<void> {
  const { code, output } = await tryRun(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} failed (${code}):\n${output}`);
}

/**
 * Throws when a program is missing and cannot be installed. On Debian, root gets its packages
 * installed.
 */
export function installed(needed: {
  readonly programs: readonly string[];
  readonly packages: readonly string[];
  readonly help: string;
}): void {
  const missing = () => needed.programs.filter((program) => !isOnPath(program));
  if (missing().length > 0 && needed.packages.length > 0 && canInstall()) {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const stdio = "inherit";
    execFileSync("apt-get", ["update", "-q"], { env, stdio });
    const args = ["install", "-q", "-y", "--no-install-recommends", ...needed.packages];
    execFileSync("apt-get", args, { env, stdio });
  }
  if (missing().length > 0) throw new Error(`${missing().join(", ")}: not found. ${needed.help}`);
}

function canInstall(): boolean {
  return process.getuid?.() === 0 && isOnPath("apt-get");
}

function isOnPath(program: string): boolean {
  try {
    execFileSync("sh", ["-c", 'command -v "$0"', program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
