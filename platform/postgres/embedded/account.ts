import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** System account for PostgreSQL when it cannot run under the account of this process. */
export interface Account {
  name: string;
  uid: number;
  gid: number;
}

/** Command and ids to start a program of PostgreSQL with. */
export interface Launch {
  /**
   * Returns the executable and arguments that start a program with its arguments under the account.
   */
  command: (program: string, args: readonly string[]) => { file: string; args: string[] };
  /** User and group of the process, for child_process. */
  ids: { uid?: number; gid?: number };
}

async function lookUp(name: string): Promise<Account | undefined> {
  const passwd = await readFile("/etc/passwd", "utf8");
  const fields = passwd
    .split("\n")
    .map((line) => line.split(":"))
    .find((candidate) => candidate[0] === name);
  return fields && { name, uid: Number(fields[2]), gid: Number(fields[3]) };
}

/**
 * The account to run PostgreSQL under, because PostgreSQL refuses to run as root. For root:
 * `postgres`, created when it is missing, or `nobody` when no account can be created. For other
 * users: undefined.
 */
export async function findAccount(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const found = await lookUp("postgres");
  if (found) return found;
  const created = await run("useradd", [
    "--system",
    "--user-group",
    "--shell",
    "/bin/false",
    "postgres",
  ])
    .then(() => lookUp("postgres"))
    .catch(() => undefined);
  const account = created ?? (await lookUp("nobody"));
  if (account) return account;
  throw new Error(
    "PostgreSQL does not run as root, and there is no account to run it under. Start Lucky as another user, or make an account named postgres.",
  );
}

/** The first parent folder of `path` that the account has no permission to traverse. */
async function closedFolder(path: string, account: Account): Promise<string | undefined> {
  const folders: string[] = [];
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (folder === dirname(folder)) break;
  }
  for (const folder of folders) {
    const { mode, uid, gid } = await stat(folder);
    const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0;
    if (((mode >> shift) & 1) === 0) return folder;
  }
  return undefined;
}

const DAC_READ_SEARCH = 2n;
const DAC_OVERRIDE = 1n;

/**
 * The weakest capability to traverse closed folders that this process can grant; undefined for
 * none.
 */
async function traverseCapability(): Promise<string | undefined> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const bits = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  if ((bits >> DAC_READ_SEARCH) & 1n) return "dac_read_search";
  if ((bits >> DAC_OVERRIDE) & 1n) return "dac_override";
  return undefined;
}

/**
 * Plans how to start the programs in the folder of `program`, which must reach `data`.
 *
 * When a checkout of root is in a folder that is closed to others, such as /root, the account
 * reaches neither the programs nor the data. Then the plan grants it the one capability that it
 * needs. Throws an error that names the folder when that is not possible.
 */
export async function planLaunch(
  account: Account | undefined,
  { program, data }: { program: string; data: string },
): Promise<Launch> {
  const direct = (file: string, args: readonly string[]) => ({ file, args: [...args] });
  if (!account) return { command: direct, ids: {} };
  const { name, uid, gid } = account;
  const closed = (await closedFolder(program, account)) ?? (await closedFolder(data, account));
  if (closed === undefined) return { command: direct, ids: { uid, gid } };

  const capability = (await traverseCapability()) ?? "dac_read_search";
  const prefix = [
    `--reuid=${uid}`,
    `--regid=${gid}`,
    "--clear-groups",
    `--inh-caps=-all,+${capability}`,
    `--ambient-caps=-all,+${capability}`,
    `--bounding-set=-all,+${capability}`,
    // Without it, access(2) ignores the capability, and initdb finds its programs by access(2).
    "--securebits=+no_setuid_fixup",
    "--",
  ];
  await run("setpriv", [...prefix, program, "--version"]).catch((cause) => {
    throw new Error(
      `PostgreSQL runs under the account ${name}, which may not pass through ${closed}. Put Lucky and its data folder somewhere that others may pass through (chmod o+x ${closed}), or start it as another user.`,
      { cause },
    );
  });
  return {
    command: (file, args) => ({ file: "setpriv", args: [...prefix, file, ...args] }),
    ids: {},
  };
}
