import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { type Cluster, clusterFolder } from "../../scripts/cluster/cluster.ts";
import { waitFor } from "../../scripts/cluster/commands.ts";

const root = join(import.meta.dirname, "../..");
const ROLLOUT_TIMEOUT_S = 300;
const STOP_TIMEOUT_MS = 60_000;

export const WORKLOADS = {
  gateway: "deployment/gateway",
  auth: "deployment/auth",
  server: "deployment/server",
  connect: "statefulset/connect",
} as const;
export type Workload = keyof typeof WORKLOADS;
const BACKENDS = ["statefulset/postgres", "deployment/redis", "deployment/rabbitmq"] as const;

/** All users of the load have one address. */
export const LIVE_SETTINGS = "limits: { credentialPerMinute: 1000000, writePerSecond: 1000 }";

/** Changes of the test to an overlay. */
export interface Deployment {
  /** "dev" when absent. "production" uses the secrets and backends that "dev" has left. */
  readonly overlay?: "dev" | "production";
  /** Tag of the image localhost/lucky. */
  readonly tag: string;
  /** Content of the file of live settings. */
  readonly liveSettings?: string;
}

/** Changes of the production overlay for a machine with two cores. */
const SMALL_PRODUCTION = [
  {
    target: { kind: "(Deployment|StatefulSet)", labelSelector: "app.kubernetes.io/part-of=lucky" },
    patch:
      "- { op: replace, path: /spec/template/spec/containers/0/resources/requests, value: { cpu: 50m, memory: 128Mi } }",
  },
  {
    target: { kind: "HorizontalPodAutoscaler" },
    patch: "- { op: replace, path: /spec/maxReplicas, value: 3 }",
  },
];

/** The part of the API's answer that `#createSecrets` reads. */
interface SecretList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly data: Readonly<Record<string, string>>;
  }[];
}

/** The part of the API's answer that `restarts` reads. */
interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status: {
      readonly containerStatuses?: readonly {
        readonly name: string;
        readonly restartCount: number;
        readonly lastState: {
          readonly terminated?: { readonly reason?: string; readonly exitCode?: number };
        };
      }[];
    };
  }[];
}

/** Lucky in a cluster, by `kubectl`. */
export class Lucky {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** kubectl in Lucky's namespace, without blocking this process. */
  kubectl(...args: readonly string[]): Promise<string> {
    return this.#cluster.kubectlInBackground(["--namespace=lucky", ...args], {
      timeoutMs: (ROLLOUT_TIMEOUT_S + 10) * 1_000,
    });
  }

  /** Applies an overlay, with changes, and waits until all pods are ready. */
  async apply({ overlay = "dev", tag, liveSettings = LIVE_SETTINGS }: Deployment): Promise<void> {
    const folder = join(clusterFolder, "overlay");
    mkdirSync(folder, { recursive: true });
    const isProduction = overlay === "production";
    if (isProduction) {
      await this.#createSecrets();
      await this.#forgetReplicas();
    }
    writeFileSync(
      join(folder, "kustomization.yaml"),
      JSON.stringify({
        apiVersion: "kustomize.config.k8s.io/v1beta1",
        kind: "Kustomization",
        namespace: "lucky",
        resources: [relative(folder, join(root, "k8s/overlays", overlay))],
        images: [
          {
            name: isProduction ? "registry.example.org/lucky" : "lucky",
            newName: "localhost/lucky",
            newTag: tag,
          },
        ],
        patches: isProduction ? SMALL_PRODUCTION : [],
        configMapGenerator: [
          {
            name: "live-settings",
            behavior: "replace",
            options: { disableNameSuffixHash: true },
            literals: [`settings.yaml=${liveSettings}`],
          },
        ],
      }),
    );
    await this.kubectl("apply", `--kustomize=${folder}`);
    await this.ready();
  }

  /**
   * Removes the numbers of pods from the last applied configuration: an overlay with autoscalers has none,
   * and kubectl would then set them to 1.
   */
  async #forgetReplicas(): Promise<void> {
    const key = "kubectl.kubernetes.io/last-applied-configuration";
    for (const workload of Object.values(WORKLOADS)) {
      const last = JSON.parse(
        await this.kubectl("apply", "view-last-applied", workload, "-o=json"),
      );
      delete last.spec.replicas;
      await this.kubectl("annotate", "--overwrite", workload, `${key}=${JSON.stringify(last)}`);
    }
  }

  /** Creates the secrets that the production overlay expects, from those of the one for development. */
  async #createSecrets(): Promise<void> {
    const list = await this.kubectl("get", "secrets", "--output=json");
    const secrets = (JSON.parse(list) as SecretList).items.flatMap(({ metadata, data }) => {
      // The generator of kustomize appends a hash.
      const name = /^([a-z]+)-[a-z0-9]{10}$/.exec(metadata.name)?.[1];
      return name ? [{ apiVersion: "v1", kind: "Secret", metadata: { name }, data }] : [];
    });
    const file = join(clusterFolder, "overlay/secrets.json");
    writeFileSync(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: secrets }));
    await this.kubectl("apply", `--filename=${file}`);
  }

  /**
   * Waits until every workload, or those named, have their pods, all of them of the last version and
   * ready, and until no pod of Lucky is stopping any more.
   */
  async ready(...names: readonly Workload[]): Promise<void> {
    const chosen =
      names.length > 0 ? names.map((name) => WORKLOADS[name]) : Object.values(WORKLOADS);
    for (const name of names.length > 0 ? chosen : [...BACKENDS, ...chosen]) {
      const status = ["rollout", "status", name, `--timeout=${ROLLOUT_TIMEOUT_S}s`];
      await this.kubectl(...status).catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await this.describe()}`);
      });
    }
    await this.stopped();
  }

  /** Waits until no pod is stopping: a gateway drains after its successor is ready. */
  async stopped(): Promise<void> {
    const path = "--output=jsonpath={.items[*].metadata.deletionTimestamp}";
    const gone = async () => (await this.kubectl("get", "pods", path)) === "";
    await waitFor("all stopping pods are gone", gone, STOP_TIMEOUT_MS);
  }

  /**
   * The containers that Kubernetes had to start again, with the reason and the last lines of each
   * earlier one. Deleted pods do not count.
   */
  async restarts(): Promise<string[]> {
    const list = JSON.parse(await this.kubectl("get", "pods", "--output=json")) as PodList;
    const restarted: string[] = [];
    for (const { metadata, status } of list.items)
      for (const { name, restartCount, lastState } of status.containerStatuses ?? []) {
        if (restartCount === 0) continue;
        const { reason = "", exitCode = "" } = lastState.terminated ?? {};
        const flags = [`--container=${name}`, "--previous", "--tail=5"];
        const lines = await this.kubectl("logs", metadata.name, ...flags).catch(String);
        restarted.push(`${metadata.name}: ${restartCount} × (${reason} ${exitCode})\n${lines}`);
      }
    return restarted;
  }

  /** Ready pods of a workload, by name. */
  async pods(name: string): Promise<string[]> {
    const columns = '--output=jsonpath={range .items[*]}{.metadata.name}{"\\n"}{end}';
    const selector = `--selector=app.kubernetes.io/name=${name}`;
    return (await this.kubectl("get", "pods", selector, columns)).split("\n").filter(Boolean);
  }

  /** Waits until a workload has this number of ready pods. */
  async waitForPods(
    name: Workload,
    holds: (count: number) => boolean,
    timeoutMs: number,
  ): Promise<number> {
    let count = 0;
    const path = "--output=jsonpath={.status.readyReplicas}";
    await waitFor(
      `${name} has the expected number of pods`,
      async () => {
        count = Number(await this.kubectl("get", WORKLOADS[name], path));
        return holds(count);
      },
      timeoutMs,
    );
    return count;
  }

  /** The value of a metric of a pod; 0 when it has no such line yet. */
  async metric(pod: string, line: string): Promise<number> {
    const path = `/api/v1/namespaces/lucky/pods/${pod}:9100/proxy/metrics`;
    const text = await this.kubectl("get", `--raw=${path}`);
    const found = text.split("\n").find((one) => one.startsWith(`${line} `));
    return Number(found?.slice(line.length) ?? 0);
  }

  /** The address of a Service. */
  async serviceUrl(name: string, port: number): Promise<string> {
    const address = await this.kubectl(
      "get",
      "service",
      name,
      "--output=jsonpath={.spec.clusterIP}",
    );
    return `http://${address}:${port}`;
  }

  /** The state of all pods, and the last events, for errors. */
  async describe(): Promise<string> {
    const pods = await this.kubectl("get", "pods", "--output=wide");
    const events = await this.kubectl("get", "events", "--sort-by=.lastTimestamp");
    return `${pods}\n${events.split("\n").slice(-25).join("\n")}`;
  }
}
