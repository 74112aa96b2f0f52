import { execFileSync, spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";

const POLL_INTERVAL_MS = 250;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export interface CommandOptions {
  /** The command is killed after this time, ms. */
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a command to its end. Returns its output; throws an error with its error output. */
export function runCommand(
  [program, ...args]: readonly string[],
  { timeoutMs = 60_000, input, env }: CommandOptions = {},
): string {
  try {
    return execFileSync(program!, args, {
      encoding: "utf8",
      timeout: timeoutMs,
      input: input ?? "",
      env: env ?? process.env,
      maxBuffer: MAX_OUTPUT_BYTES,
      stdio: "pipe",
    });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`${program} ${args.join(" ")}: ${stderr?.trim() || message}`, { cause: error });
  }
}

/** The same without blocking this process. */
export async function runCommandInBackground(
  [program, ...args]: readonly string[],
  { timeoutMs = 60_000, input, env }: CommandOptions = {},
): Promise<string> {
  const child = spawn(program!, args, { env: env ?? process.env, timeout: timeoutMs });
  const [out, err]: [string[], string[]] = [[], []];
  child.stdout.setEncoding("utf8").on("data", (part: string) => out.push(part));
  child.stderr.setEncoding("utf8").on("data", (part: string) => err.push(part));
  child.stdin.end(input ?? "");
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once("error", reject);
  child.once("close", resolve);
  const code = await promise;
  if (code === 0) return out.join("");
  const reason = err.join("").trim() || out.join("").trim() || `no end within ${timeoutMs} ms`;
  throw new Error(`${program} ${args.join(" ")}: ${reason}`);
}

/** Waits until `holds` returns true; an error counts as false. Throws after `timeoutMs`. */
export async function waitFor(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      if (await holds()) return;
    } catch (error) {
      last = error;
    }
    if (performance.now() > untilMs)
      throw new Error(`${what}: not within ${timeoutMs / 1000} s`, { cause: last });
    await pause(POLL_INTERVAL_MS);
  }
}
