/**
 * `npm run test:containers`: builds the image and runs compose.yaml with podman, on Debian, as root.
 * Checks sizes, rights and networks, plays the demo through the published port and through nginx with
 * TLS, kills a container of each kind under load, and stops and starts everything. Removes what it
 * started; base images and layers stay in the cache folder.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { buildLucky } from "../images/lucky-image.ts";
import { openPodman } from "../images/podman.ts";
import { makeStandIns } from "../images/stand-ins.ts";
import { freePorts } from "../ports.ts";
import { startAccount } from "./account.ts";
import { openComposition } from "./composition.ts";
import {
  checkEmbedded,
  checkImage,
  checkRights,
  checkSbom,
  removeEmbedded,
} from "./image-checks.ts";

const root = join(import.meta.dirname, "../..");
/** One container of each kind; edge last, because it holds sessions of the account. */
const KINDS = ["connect-0", "server-0", "auth", "gateway", "redis", "rabbitmq", "postgres", "edge"];

interface Row {
  readonly title: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly figures: string;
}

const rows: Row[] = [];

/** Runs one check, which may return figures. The checks after a failed one are not run. */
async function check(title: string, work: () => unknown): Promise<void> {
  const begunAt = performance.now();
  const row = (passed: boolean, figures: string) => {
    const seconds = (performance.now() - begunAt) / 1_000;
    rows.push({ title, passed, seconds, figures });
    console.log(`${passed ? "✔" : "✖"} ${title} (${seconds.toFixed(1)} s) ${figures}`);
  };
  try {
    const result = await work();
    row(true, typeof result === "string" ? result : "");
  } catch (error) {
    row(false, "");
    throw error;
  }
}

const secrets = mkdtempSync(join(tmpdir(), "lucky-secrets-"));
const ports = (await freePorts(6)) as [number, number, number, number, number, number];
const [plain, tls, redirect, prometheus, alertmanager, embedded] = ports;
const podman = openPodman();
const composition = openComposition(podman, {
  LUCKY_SECRETS: secrets,
  LUCKY_PUBLISH: `127.0.0.1:${plain}`,
  LUCKY_PUBLISH_TLS: `127.0.0.1:${tls}`,
  LUCKY_PUBLISH_REDIRECT: `127.0.0.1:${redirect}`,
  LUCKY_PUBLISH_PROMETHEUS: String(prometheus),
  LUCKY_PUBLISH_ALERTMANAGER: String(alertmanager),
});
const urls = [`http://127.0.0.1:${plain}`, `https://localhost:${tls}`] as const;
const certificate = join(secrets, "edge_certificate");

/** Plays the demo in a process of its own, which trusts the certificate of edge. */
async function demo(url: string): Promise<void> {
  const script = join(root, "scripts/demo.ts");
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", script, "--url", url],
    {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: certificate },
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let output = "";
  child.stdout.on("data", (text) => {
    output += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(code, 0, output);
}

async function checkContainers(): Promise<void> {
  await check("all containers start and are healthy", async () => {
    await composition.up();
    return `${composition.running.length} running`;
  });
  for (const url of urls) await check(`npm run demo through ${url.split(":")[0]}`, () => demo(url));
  await check("no container runs as root, has a capability or can write to its root", () => {
    for (const service of composition.running) {
      checkRights(composition.exec(service, "cat", "/proc/1/status"), service);
      assert.match(composition.exec(service, "grep", " / ", "/proc/1/mounts"), / ro,/, service);
    }
  });
  await check("the networks keep the gateway from PostgreSQL, and strangers from Redis", () => {
    const open =
      "require('net').connect(5432, 'postgres').on('connect', () => process.exit(0)).on('error', () => process.exit(1))";
    composition.exec("auth", "node", "-e", open);
    assert.throws(() => composition.exec("gateway", "node", "-e", open));
    assert.match(composition.exec("redis", "redis-cli", "ping"), /NOAUTH/);
  });
  await check("Prometheus scrapes every process", async () => {
    const query = encodeURIComponent('sum(up{job="lucky"})');
    const url = `http://127.0.0.1:${prometheus}/api/v1/query?query=${query}`;
    const until = Date.now() + 60_000;
    for (;;) {
      const { data } = (await (await fetch(url)).json()) as {
        data: { result: { value: [number, string] }[] };
      };
      if (data.result[0]?.value[1] === "7") return;
      assert.ok(Date.now() < until, JSON.stringify(data));
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  });
  await checkAccount();
}

/** Kills containers while people write, then stops and starts everything; nothing may be lost. */
async function checkAccount(): Promise<void> {
  setDefaultCACertificates([...getCACertificates("default"), readFileSync(certificate, "utf8")]);
  const account = await startAccount(urls);
  const exact = async () => {
    const { sent, unsure, slowestMs, ...faults } = await account.outcome();
    assert.deepEqual(faults, { lost: 0, doubled: 0, misdelivered: 0 });
    return `${sent} sent, ${unsure} unsure, slowest ${slowestMs} ms`;
  };
  try {
    for (const kind of KINDS)
      await check(`${kind} is killed under load and returns`, () => composition.crash(kind));
    await check("nothing was lost, doubled or reordered", async () => {
      await account.stop();
      return exact();
    });
    console.log(
      composition.running.map((one) => `  ${one}: ${composition.memoryOf(one)}`).join("\n"),
    );
    await check("down and up keep the volumes", async () => {
      composition.down();
      await composition.up();
      await exact();
    });
  } finally {
    await account.close();
  }
}

function cleanUp(): void {
  composition.remove();
  removeEmbedded(podman);
}

try {
  // A run that was killed leaves its containers.
  cleanUp();
  execFileSync(join(root, "scripts/compose-secrets"), {
    env: { ...process.env, LUCKY_SECRETS: secrets },
  });
  await check("local base images", () => makeStandIns(podman));
  const lucky = { image: "", bytes: 0, sbomFile: "" };
  await check("the image is built", () => {
    Object.assign(lucky, buildLucky(podman));
    return `${(lucky.bytes / 1e6).toFixed(0)} MB`;
  });
  await check("the image is small and runs as a plain user", () => checkImage(podman, lucky));
  await check("the SBOM has the packages of the image", () => `${checkSbom(lucky)} packages`);
  await check("a single process runs on a read-only root and keeps its data", () =>
    checkEmbedded(podman, lucky.image, { port: embedded, demo }),
  );
  await checkContainers();
} catch (error) {
  console.error(error);
} finally {
  await check("everything is removed", cleanUp).catch(console.error);
  rmSync(secrets, { recursive: true });
}
console.log("");
for (const { title, passed, seconds, figures } of rows)
  console.log(
    `${passed ? "✔" : "✖"} ${title.padEnd(72)} ${seconds.toFixed(1).padStart(6)} s  ${figures}`,
  );
const failed = rows.filter(({ passed }) => !passed).length;
console.log(`ℹ tests ${rows.length}\nℹ pass ${rows.length - failed}\nℹ fail ${failed}`);
console.log("ℹ skipped 0\nℹ todo 0");
process.exitCode = failed === 0 ? 0 : 1;
