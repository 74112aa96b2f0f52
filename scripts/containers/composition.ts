import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parse } from "yaml";
import { cacheFolder, installMissing, type Podman } from "../images/podman.ts";

const root = join(import.meta.dirname, "../..");
const PROJECT = "luckytest";
const LABEL = `label=io.podman.compose.project=${PROJECT}`;
const VERSION = "1.6.0";
const HEALTHY_TIMEOUT_MS = 180_000;
const POLL_INTERVAL_MS = 500;
/** Services whose image is not made locally. */
const LEFT_OUT = ["grafana"];

interface Service {
  readonly depends_on?: Readonly<Record<string, unknown>>;
  readonly healthcheck?: { readonly disable?: boolean };
}

/** The containers of compose.yaml. */
export interface Composition {
  /** Names of the services, each with one container. */
  readonly services: readonly string[];
  /** Services that keep running; the migration ends. */
  readonly running: readonly string[];
  /** Starts everything in the order of `depends_on`, and waits until it is healthy. */
  up(): Promise<void>;
  /** Stops and removes the containers and networks; the volumes stay. */
  down(): void;
  /** Runs a program in a container. Returns its output; throws an error when it fails. */
  exec(service: string, ...command: readonly string[]): string;
  /** Kills the main process of a container, and waits until it was restarted and is healthy. */
  crash(service: string): Promise<void>;
  /** Waits until a health check passes. Throws an error with the log of the container otherwise. */
  healthy(service: string): Promise<void>;
  /** Bytes of memory that a container uses. */
  memoryOf(service: string): string;
  /** Removes containers, networks and volumes. */
  remove(): void;
}

/**
 * Runs compose.yaml with podman-compose, but orders the starts itself: Debian's podman neither runs
 * health checks nor waits for them, and refuses to restart a container after its dependencies.
 */
export function openComposition(podman: Podman, env: NodeJS.ProcessEnv): Composition {
  const program = installCompose();
  const all = parse(readFileSync(join(root, "compose.yaml"), "utf8"), { merge: true }).services;
  const entries = Object.entries(all as Record<string, Service>);
  const services = new Map(entries.filter(([name]) => !LEFT_OUT.includes(name)));
  const ends = (service: string) => services.get(service)?.healthcheck?.disable === true;
  const nameOf = (service: string) => `${PROJECT}_${service}_1`;
  const inspect = (service: string, format: string) =>
    podman.run("container", "inspect", `--format={{${format}}}`, nameOf(service));
  const compose = (...args: readonly string[]) => {
    const options = [
      "--in-pod=false",
      // podman would make /run and /tmp writable.
      "--podman-run-args=--read-only-tmpfs=false",
      `--project-name=${PROJECT}`,
      "--profile=edge",
      "--profile=watch",
    ];
    const quiet = { cwd: root, env: { ...podman.env, ...env }, stdio: "pipe" } as const;
    execFileSync(program, [...options, ...args], quiet);
  };

  async function healthy(service: string): Promise<void> {
    const until = Date.now() + HEALTHY_TIMEOUT_MS;
    for (;;) {
      try {
        podman.run("healthcheck", "run", nameOf(service));
        return;
      } catch {
        if (Date.now() > until)
          throw new Error(
            `${service} is not healthy:\n${podman.run("logs", "--tail=20", nameOf(service))}`,
          );
        await pause(POLL_INTERVAL_MS);
      }
    }
  }

  async function started(service: string): Promise<void> {
    if (!ends(service)) return healthy(service);
    const code = podman.run("wait", nameOf(service));
    if (code !== "0") throw new Error(`${service} ended with ${code}`);
  }

  return {
    services: [...services.keys()],
    running: [...services.keys()].filter((service) => !ends(service)),
    async up() {
      const waiting = new Map(services);
      while (waiting.size > 0) {
        const next = [...waiting].flatMap(([name, { depends_on = {} }]) =>
          Object.keys(depends_on).some((other) => waiting.has(other)) ? [] : [name],
        );
        compose("up", "--detach", "--no-build", "--no-deps", ...next);
        for (const service of next) {
          await started(service);
          waiting.delete(service);
        }
      }
    },
    down: () => compose("down", "--timeout=20"),
    exec: (service, ...command) => podman.run("exec", nameOf(service), ...command),
    healthy,
    async crash(service) {
      const pid = inspect(service, ".State.Pid");
      process.kill(Number(pid), "SIGKILL");
      const until = Date.now() + HEALTHY_TIMEOUT_MS;
      while ([pid, "0"].includes(inspect(service, ".State.Pid"))) {
        if (Date.now() > until) throw new Error(`${service} was not restarted`);
        await pause(POLL_INTERVAL_MS);
      }
      await healthy(service);
    },
    memoryOf: (service) =>
      podman.run("stats", "--no-stream", "--format={{.MemUsage}}", nameOf(service)),
    remove() {
      const remove = (kind: string, ...options: string[]) => {
        const ids = podman.run(kind, "ls", "--quiet", `--filter=${LABEL}`, ...options);
        const force = kind === "container" ? ["--time=1"] : [];
        if (ids !== "") podman.run(kind, "rm", "--force", ...force, ...ids.split("\n"));
      };
      remove("container", "--all");
      remove("network");
      remove("volume");
    },
  };
}

/** Installs podman-compose from PyPI, into the cache folder. Returns the path of the program. */
function installCompose(): string {
  const folder = join(cacheFolder, `podman-compose-${VERSION}`);
  const program = join(folder, "bin/podman-compose");
  if (existsSync(program)) return program;
  installMissing(["python3-venv"]);
  execFileSync("/usr/bin/python3", ["-m", "venv", folder], { stdio: "inherit" });
  const install = ["install", "--quiet", `podman-compose==${VERSION}`];
  execFileSync(join(folder, "bin/pip"), install, { stdio: "inherit" });
  return program;
}
