import { execFileSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";
import pg from "pg";

/** The machine of a run. */
export interface Machine {
  readonly cpus: number;
  readonly model: string;
  readonly memory: string;
  readonly kernel: string;
  /** Load average of the minute before the bench started. */
  readonly load_before: number;
}

export function readMachine(): Machine {
  return {
    cpus: cpus().length,
    model: cpus()[0]?.model.trim() || "unknown",
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    kernel: release(),
    load_before: Number(loadavg()[0]!.toFixed(2)),
  };
}

/** Versions of Node and of the servers that take part. */
export async function readVersions(options: {
  readonly postgresUrl?: string;
  readonly mesh: boolean;
}): Promise<Record<string, string>> {
  const versions: Record<string, string> = { node: process.version.slice(1) };
  if (options.postgresUrl) {
    const client = new pg.Client({ connectionString: options.postgresUrl });
    await client.connect();
    const { rows } = await client.query("SHOW server_version");
    await client.end();
    versions.postgres = String(rows[0].server_version);
  }
  if (options.mesh) {
    versions.redis = readProgramVersion("redis-server", ["--version"], /v=(\S+)/);
    versions.rabbitmq = readProgramVersion("dpkg", ["-s", "rabbitmq-server"], /^Version: (.+)$/m);
  }
  return versions;
}

function readProgramVersion(program: string, args: readonly string[], version: RegExp): string {
  try {
    const output = execFileSync(program, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return version.exec(output)?.[1]?.trim() ?? "unknown";
  } catch {
    return "unknown";
  }
}
