/**
 * `npm run test:k8s`: a real cluster of one node on this machine, with the manifests of k8s/, under load, while its parts
 * are restarted, updated, scaled and killed. Needs root on Debian, Go, and about half an hour. Exits with 1 when a message
 * is lost, duplicated or out of order, or a step fails. Times are reported beside their targets, and never fail it.
 * `npm run test:k8s -- down` removes a cluster that a killed run, or one with LUCKY_CLUSTER_KEEP=1, has left.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
  type Cluster,
  clusterFolder,
  startCluster,
  stopCluster,
} from "../../scripts/cluster/cluster.ts";
import { runCommand } from "../../scripts/cluster/commands.ts";
import { buildImages } from "../../scripts/cluster/images.ts";
import { validateOnServer } from "./dry-run.ts";
import { Load } from "./load-process.ts";
import { Lucky } from "./lucky.ts";
import { checkPolicies } from "./policies.ts";
import { printReports } from "./report.ts";
import { makeChanges, type ScenarioReport } from "./scenario.ts";

const SESSIONS = numberOf("LUCKY_CLUSTER_SESSIONS", 200);
/** Messages a second. */
const RATE = numberOf("LUCKY_CLUSTER_RATE", 200);
/** User of PostgreSQL in its image. */
const POSTGRES_USER = "999:999";
const CALM_MS = 10_000;

/** A whole number above 0 from the environment. */
function numberOf(variable: string, standard: number): number {
  const value = Number(process.env[variable] || standard);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`${variable} must be a whole number above 0`);
}

const print = (line: string) => console.log(`── ${line}`);

/** A volume for the claim of PostgreSQL: this cluster has no storage class. */
function createVolume(cluster: Cluster): void {
  const folder = join(clusterFolder, "volumes/postgres");
  mkdirSync(folder, { recursive: true });
  runCommand(["chown", POSTGRES_USER, folder]);
  const volume = {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name: "postgres" },
    spec: {
      capacity: { storage: "5Gi" },
      accessModes: ["ReadWriteOnce"],
      hostPath: { path: folder },
    },
  };
  cluster.kubectl(["apply", "--filename=-"], { input: JSON.stringify(volume) });
}

async function test(cluster: Cluster): Promise<boolean> {
  validateOnServer(cluster);
  print("the API server accepts both overlays, the components and the samples");
  createVolume(cluster);
  const lucky = new Lucky(cluster);
  await lucky.apply({ tag: "latest" });
  print("k8s/overlays/dev is ready");
  await checkPolicies(lucky);
  print("policies refuse what they must");

  const url = await lucky.serviceUrl("gateway", 9191);
  const load = await Load.start({ url, sessions: SESSIONS, rate: RATE });
  try {
    print(`${SESSIONS} sessions send ${RATE} messages a second`);
    await pause(CALM_MS);
    const reports: ScenarioReport[] = [];
    let failed = false;
    try {
      for await (const report of makeChanges({ lucky, load })) {
        reports.push(report);
        print(
          `${report.name}: ${report.accepted} messages, longest gap ${report.longestGapMs} ms, ${report.reconnects} reconnects`,
        );
      }
    } catch (error) {
      // The account of the changes until now is still of use.
      console.error(error);
      failed = true;
    }
    const account = await load.end();
    printReports(reports, account);
    for (const restart of await lucky.restarts()) print(`restarted: ${restart}`);
    const { refused, lost, duplicated, reordered } = account;
    return !failed && refused.length + lost + duplicated + reordered === 0;
  } finally {
    load.kill();
  }
}

async function run(): Promise<void> {
  if (SESSIONS % 2 !== 0)
    throw new Error("LUCKY_CLUSTER_SESSIONS must be even: they come in pairs");
  const images = await buildImages();
  print("the images are built");
  const cluster = await startCluster({ loadImages: images.load, print });
  const interrupted = () => void cluster.stop().finally(() => process.exit(130));
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);
  try {
    process.exitCode = (await test(cluster)) ? 0 : 1;
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    if (process.env.LUCKY_CLUSTER_KEEP !== "1") await cluster.stop();
  }
}

await (process.argv[2] === "down" ? stopCluster() : run());
