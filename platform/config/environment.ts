import { type ConfigTable, environmentName } from "./config.ts";
import { readSecretFile } from "./secret-file.ts";

/** The settings that the environment names, with the contents of their secret files. */
export interface EnvironmentSettings {
  /** Values by variable. An empty one counts as not set. */
  readonly texts: ReadonlyMap<string, string>;
  /** Paths of the secret files that were read, by the variable of the setting. */
  readonly secretFiles: ReadonlyMap<string, string>;
  /** Variables whose value could not be read; the fault is already reported. */
  readonly faulty: ReadonlySet<string>;
  /** The variable as the operator wrote it: with its file, if the value comes from one. */
  nameOf(variable: string): string;
}

/** The variable with the path of a file that has the secret of another variable. */
export function secretFileName(variable: string): string {
  return `${variable}_FILE`;
}

/** Reads the variables of the tables, and the files of secrets. Adds each fault to `faults`. */
export function readEnvironment(
  tables: Readonly<Record<string, ConfigTable>>,
  env: Readonly<Record<string, string | undefined>>,
  faults: string[],
): EnvironmentSettings {
  const texts = new Map<string, string>();
  const secretFiles = new Map<string, string>();
  const faulty = new Set<string>();
  for (const { name, settings } of Object.values(tables)) {
    for (const [key, { secret }] of Object.entries(settings)) {
      const variable = environmentName(name, key);
      const text = env[variable] ?? "";
      const path = secret ? (env[secretFileName(variable)] ?? "") : "";
      try {
        if (text !== "" && path !== "")
          throw new Error(`${variable} and ${secretFileName(variable)} are both set: remove one`);
        if (path !== "") {
          texts.set(variable, contentOf(variable, path));
          secretFiles.set(variable, path);
        } else if (text !== "") texts.set(variable, text);
      } catch (error) {
        faults.push((error as Error).message);
        faulty.add(variable);
      }
    }
  }
  const nameOf = (variable: string) => {
    const path = secretFiles.get(variable);
    return path === undefined ? variable : `${secretFileName(variable)} (${path})`;
  };
  return { texts, secretFiles, faulty, nameOf };
}

function contentOf(variable: string, path: string): string {
  try {
    return readSecretFile(path);
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(`${secretFileName(variable)}: ${path} ${message}`, { cause });
  }
}
