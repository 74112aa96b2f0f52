import { spawn } from "node:child_process";

export interface ProgramOptions {
  readonly program: string;
  readonly args: readonly string[];
  /** Working folder; the folder of this process when absent. */
  readonly cwd?: string;
  /** Environment variables in addition to those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** "inherit" prints its error output at once; "keep" adds it to `output`. */
  readonly errors: "inherit" | "keep";
}

/** How a program ended, and what it printed. */
export interface Ended {
  /** Exit code, or the name of the signal that killed it. */
  readonly end: number | NodeJS.Signals;
  readonly stdout: string;
  /** Standard output and, with "keep", error output, in the order of arrival. */
  readonly output: string;
}

/**
 * Runs a program to its end. Sends it SIGTERM when this process exits first. Rejects when the program cannot
 * be started.
 */
export function runProgram({ program, args, cwd, env, errors }: ProgramOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", errors === "keep" ? "pipe" : "inherit"],
    });
    const terminate = () => void child.kill("SIGTERM");
    process.once("exit", terminate);
    let stdout = "";
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      output += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.once("error", (error) => {
      process.off("exit", terminate);
      reject(error);
    });
    child.once("close", (code, signal) => {
      process.off("exit", terminate);
      resolve({ end: code ?? signal ?? 1, stdout, output });
    });
  });
}
