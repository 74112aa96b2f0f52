import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { LuckyImage } from "../images/lucky-image.ts";
import type { Podman } from "../images/podman.ts";

const root = join(import.meta.dirname, "../..");
const MAX_BYTES = 400_000_000;
const NAME = "luckytest-embedded";
const HEALTHY_TIMEOUT_MS = 120_000;
const HARDENED = [
  "--read-only",
  // podman would make /run and /tmp writable.
  "--read-only-tmpfs=false",
  "--cap-drop=all",
  "--security-opt=no-new-privileges",
];

/** The image is small, has one Node, a plain user, a health check and labels. */
export function checkImage(podman: Podman, { image, bytes }: LuckyImage): void {
  assert.ok(bytes <= MAX_BYTES, `the image has ${bytes} bytes`);
  const { Config: config } = JSON.parse(podman.run("image", "inspect", image))[0];
  assert.equal(config.User, "1000:1000");
  const check = podman.run("image", "inspect", "--format={{.Config.Healthcheck}}", image);
  assert.match(check, /readyz/);
  assert.equal(config.Labels["org.opencontainers.image.title"], "Lucky");
  assert.match(config.Labels["org.opencontainers.image.revision"], /^[0-9a-f]{40}$/);
  const find = ["find", "/", "-xdev", "-name", "node", "-type", "f", "-perm", "-1"];
  assert.equal(podman.run("run", "--rm", "--user=root", image, ...find), "/usr/local/bin/node");
}

/** The SBOM has every package that the services need, and none that only development needs. */
export function checkSbom({ sbomFile }: LuckyImage): number {
  const sbom = JSON.parse(readFileSync(sbomFile, "utf8"));
  assert.equal(sbom.bomFormat, "CycloneDX");
  const names = new Set<string>(sbom.components.map(({ name }: { name: string }) => name));
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const name of Object.keys(manifest.dependencies)) {
    const actual = manifest.dependencies[name].match(/^npm:(.+)@/)?.[1] ?? name;
    assert.ok(names.has(name) || names.has(actual), `the SBOM lacks ${name}`);
  }
  for (const name of ["typescript", "esbuild", "fast-check"])
    assert.ok(!names.has(name), `the SBOM has ${name}`);
  return names.size;
}

/**
 * Runs the image as a single process with one writable folder, twice with the same data. Calls
 * `demo` with its address.
 */
export async function checkEmbedded(
  podman: Podman,
  image: string,
  { port, demo }: { readonly port: number; readonly demo: (url: string) => Promise<void> },
): Promise<void> {
  const volume = ["--volume", `${NAME}:/lucky/data`];
  const publish = ["--publish", `127.0.0.1:${port}:9191`];
  for (const start of ["first", "second"]) {
    podman.run("run", "--detach", `--name=${NAME}`, ...HARDENED, ...volume, ...publish, image);
    await healthy(podman);
    await demo(`http://127.0.0.1:${port}`);
    checkRights(podman.run("exec", NAME, "cat", "/proc/1/status"), start);
    assert.throws(() => podman.run("exec", NAME, "touch", "/lucky/file"), /Read-only file system/);
    podman.run("stop", "--time=20", NAME);
    const code = podman.run("container", "inspect", "--format={{.State.ExitCode}}", NAME);
    assert.equal(code, "0", `the ${start} process ended with ${code}`);
    podman.run("rm", NAME);
  }
}

async function healthy(podman: Podman): Promise<void> {
  const until = Date.now() + HEALTHY_TIMEOUT_MS;
  for (;;) {
    try {
      podman.run("healthcheck", "run", NAME);
      return;
    } catch (error) {
      if (Date.now() > until) throw error;
      await pause(500);
    }
  }
}

/** Checks /proc/<pid>/status of a process: no root, no capabilities, no way to gain any. */
export function checkRights(status: string, name: string): void {
  const field = (key: string) => new RegExp(`^${key}:\\s*(\\S+)`, "m").exec(status)?.[1];
  assert.notEqual(field("Uid"), "0", `${name} runs as root`);
  assert.equal(field("NoNewPrivs"), "1", name);
  for (const key of ["CapPrm", "CapEff", "CapBnd"])
    assert.match(field(key) ?? "", /^0+$/, `${name} has capabilities`);
}

/** Removes the container and the volume of `checkEmbedded`. */
export function removeEmbedded(podman: Podman): void {
  podman.run("rm", "--force", "--ignore", "--time=1", NAME);
  podman.run("volume", "rm", "--force", NAME);
}
