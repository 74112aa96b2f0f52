import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { parse, stringify } from "yaml";
import { startMesh } from "../../scripts/mesh.ts";
import { DASHBOARDS } from "../../scripts/watch/dashboards.ts";
import { startPrometheus } from "../backends/backends.ts";
import { people } from "../world/people.ts";

const run = promisify(execFile);
const KUBERNETES = "k8s/watch/prometheus/kubernetes.yml";
const RULES = "k8s/watch/prometheus/rules/lucky.yml";
const TIMEOUT = 180_000;

/** Panels that have no curve while nothing fails, or while a feature is not used. */
const MAY_BE_EMPTY = new Set([
  "Errors",
  "Methods with errors",
  "Open circuit breakers",
  "Retries",
  "Refused",
  "Ended sessions",
  "Limiter without Redis",
  "Lost pushes",
  "SMS codes",
  // A single process with its own PostgreSQL has this one.
  "Free disk",
  "Settings",
  "Life of the certificate",
]);

test("promtool and amtool accept the rules and the configurations, and all alerts pass their tests", async () => {
  await run("promtool", ["check", "rules", RULES]);
  await run("promtool", ["test", "rules", "test/watch/alerts.test.yml"]);
  await run("promtool", ["check", "config", "k8s/watch/prometheus/prometheus.yml"]);
  await run("amtool", ["check-config", "k8s/watch/alertmanager/alertmanager.yml"]);
});

test("a Prometheus evaluates every expression of the dashboards on a running mesh", {
  timeout: TIMEOUT,
}, async (t) => {
  const mesh = await startMesh({ own: true, free: true, env: {}, print() {} });
  after(() => mesh.stop());
  const prometheus = await startPrometheus(configurationFor(mesh));
  after(() => prometheus.close());
  const world = { url: mesh.gatewayUrl };
  const [ana, ben] = await people(world, "ana", "ben");
  t.after(() => Promise.all([ana!.closeDevices(), ben!.closeDevices()]));
  const [a, b] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([a.client.connect(), b.client.connect()]);

  let sent = 0;
  for (const { rows } of DASHBOARDS) {
    for (const { title, curves } of Object.values(rows).flat()) {
      for (const expression of Object.values(curves)) {
        // A rate needs two scrapes with traffic between them.
        while ((await query(prometheus.url, expression)) === 0 && !MAY_BE_EMPTY.has(title))
          await a.client.send({ userId: ben!.userId }, `m${sent++}`);
      }
    }
  }
  await b.until(() => b.texts().length === sent);
  const { result } = await get<Samples>(prometheus.url, "/api/v1/query?query=lucky_sessions");
  const labels = result.map(({ metric }) => [metric.service, metric.instance]);
  assert.deepEqual(
    labels.sort(),
    [0, 1, 2].map((at) => ["connect", `connect-${at}`]),
  );
  // The query checks the answer: an expression of an alert may have no result.
  const { groups } = await get<RuleGroups>(prometheus.url, "/api/v1/rules");
  assert.ok(groups[0]!.rules.length > 20);
  for (const { health, name } of groups[0]!.rules) assert.equal(health, "ok", name);
});

/** Scrapes the processes every second, with the job for Kubernetes, as if each were a pod. */
function configurationFor({ opsUrls, processes }: Awaited<ReturnType<typeof startMesh>>): string {
  const { scrape_configs: jobs } = parse(readFileSync(KUBERNETES, "utf8"));
  const { kubernetes_sd_configs: found, ...job } = jobs[0];
  assert.deepEqual(found, [{ role: "pod", namespaces: { names: ["lucky"] } }]);
  const pod = "__meta_kubernetes_pod";
  const targets = opsUrls.map((url, at) => ({
    labels: {
      [`${pod}_annotation_prometheus_io_scrape`]: "true",
      [`${pod}_container_port_name`]: "ops",
      [`${pod}_label_app_kubernetes_io_name`]: processes[at]!.name.replace(/-\d+$/, ""),
      [`${pod}_name`]: processes[at]!.name,
    },
    targets: [new URL(url).host],
  }));
  return stringify({
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files: [`${process.cwd()}/${RULES}`],
    scrape_configs: [{ ...job, static_configs: targets }],
  });
}

/** Number of series in the result of an expression. */
async function query(url: string, expression: string): Promise<number> {
  const text = expression.replaceAll("$__rate_interval", "15s");
  const { result } = await get<Samples>(url, `/api/v1/query?query=${encodeURIComponent(text)}`);
  return result.length;
}

/** Answer of Prometheus to a query. */
interface Samples {
  readonly result: readonly { readonly metric: Readonly<Record<string, string>> }[];
}

/** Answer of Prometheus about its rules. */
interface RuleGroups {
  readonly groups: readonly {
    readonly rules: readonly { readonly health: string; readonly name: string }[];
  }[];
}

/** The data of an answer of Prometheus's API. The caller names its type. */
async function get<Data>(url: string, path: string): Promise<Data> {
  const answer = (await (await fetch(url + path)).json()) as {
    status: string;
    error?: string;
    data: Data;
  };
  assert.equal(answer.status, "success", `${path}: ${answer.error}`);
  return answer.data;
}
