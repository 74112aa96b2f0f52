import { parseArgs } from "node:util";
import { messageOf } from "#platform/process/process.ts";
import { backup } from "./backup.ts";
import { restore } from "./restore.ts";
import type { Environment } from "./runtime.ts";

/** The command in the arguments of `npm start`. */
export type Command =
  | { readonly name: "start" }
  | { readonly name: "help" }
  | { readonly name: "backup"; readonly file: string }
  | {
      readonly name: "restore";
      readonly file: string;
      readonly keyFile: string | undefined;
      readonly damaged: boolean;
    };

export const HELP = `npm start                                     starts all services in this process
npm start -- backup <file>                    writes a backup of the data folder; Lucky may run meanwhile
npm start -- restore <file> [--key <path>]    creates the database of a new data folder from a backup;
                                              <path>: a copy of the old data folder's auth.key;
                                              --damaged accepts a backup of a log with missing entries
npm start -- --help                           prints this help

The data folder is LUCKY_DATA_DIR (./data). docs/administration.md, section "Backup", describes both
commands; docs/configuration.md lists all settings.`;

/** Reads the arguments of `npm start`. Throws an error for operators. */
export function readCommand(args: readonly string[]): Command {
  const { values, positionals } = parse(args);
  const [name, file, ...others] = positionals;
  if (values.help) return { name: "help" };
  const { key: keyFile, damaged = false } = values;
  if (name === undefined && keyFile === undefined && !damaged) return { name: "start" };
  const complete = file !== undefined && file !== "" && others.length === 0;
  if (name === "backup" && complete && keyFile === undefined && !damaged) return { name, file };
  if (name === "restore" && complete) return { name, file, keyFile, damaged };
  throw new Error(`npm start does not know these arguments: ${args.join(" ")}\n\n${HELP}`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        help: { type: "boolean", short: "h" },
        key: { type: "string" },
        damaged: { type: "boolean" },
      },
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}\n\n${HELP}`, { cause: error });
  }
}

/**
 * Runs the arguments of `npm start`. A command prints its report or its error, and sets the exit code.
 * A signal ends a command, which leaves nothing unfinished behind.
 */
export async function runArguments(
  args: readonly string[],
  { env, start }: { readonly env: Environment; readonly start: () => void },
): Promise<void> {
  try {
    const command = readCommand(args);
    if (command.name === "start") start();
    else console.log(await run(command, { env, signal: interruption() }));
  } catch (error) {
    console.error(messageOf(error as Error));
    process.exitCode = 1;
  }
}

/** A signal that aborts at SIGINT, SIGTERM and SIGHUP. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(name, () => controller.abort(new Error("Interrupted: nothing was written.")));
  return controller.signal;
}

/** Runs a command; returns its report. */
async function run(
  command: Exclude<Command, { readonly name: "start" }>,
  common: { readonly env: Environment; readonly signal: AbortSignal },
): Promise<string> {
  switch (command.name) {
    case "help":
      return HELP;
    case "backup":
      return backup({ ...common, file: command.file });
    case "restore":
      return restore({ ...common, ...command });
  }
}
