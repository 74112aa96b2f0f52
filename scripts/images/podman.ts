import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { installPackages } from "../servers.ts";

/** Programs of Debian that build and run containers without a daemon. */
const PACKAGES = ["podman", "runc", "netavark", "aardvark-dns", "iptables", "debootstrap"];
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** Folder with everything that is built once and may be deleted at any time. */
export const cacheFolder = process.env.LUCKY_CACHE || join(homedir(), ".cache/lucky");

/**
 * podman with storage, networks and settings of its own, apart from those of the machine: crun cannot
 * run where the control groups are of version 1, and the machine need not have systemd.
 */
export interface Podman {
  /** Environment with which podman, and programs that call it, find the storage. */
  readonly env: NodeJS.ProcessEnv;
  /** Runs podman. Returns its output; throws an error with it when podman fails. */
  run(...args: readonly string[]): string;
  /** Runs podman with its output on the terminal. */
  show(...args: readonly string[]): void;
  /** Whether the local storage has an image. */
  has(image: string): boolean;
}

/** Installs what is missing (Debian) and writes the settings. Needs root. */
export function openPodman(): Podman {
  installMissing(PACKAGES);
  const folder = join(cacheFolder, "podman");
  mkdirSync(join(folder, "networks"), { recursive: true });
  writeFileSync(
    join(folder, "containers.conf"),
    `[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "${folder}/networks"
`,
  );
  writeFileSync(
    join(folder, "storage.conf"),
    `[storage]
driver = "overlay"
graphroot = "${folder}/storage"
runroot = "/run/lucky-podman"
`,
  );
  const env = {
    ...process.env,
    CONTAINERS_CONF: join(folder, "containers.conf"),
    CONTAINERS_STORAGE_CONF: join(folder, "storage.conf"),
  };
  const options = { env, maxBuffer: MAX_OUTPUT_BYTES } as const;
  // Without systemd, podman complains at each start that it cannot run health checks itself.
  const piped = { ...options, encoding: "utf8", stdio: "pipe" } as const;
  return {
    env,
    run: (...args) => execFileSync("podman", args, piped).trim(),
    show: (...args) => void execFileSync("podman", args, { ...options, stdio: "inherit" }),
    has(image) {
      try {
        execFileSync("podman", ["image", "exists", image], { ...options, stdio: "ignore" });
        return true;
      } catch {
        return false;
      }
    },
  };
}

/** Installs those packages of Debian that are missing. */
export function installMissing(packages: readonly string[]): void {
  installPackages(packages.filter(isMissing), "Containers are tested on Debian only.");
}

function isMissing(name: string): boolean {
  try {
    execFileSync("dpkg", ["--status", name], { stdio: "ignore" });
    return false;
  } catch {
    return true;
  }
}
