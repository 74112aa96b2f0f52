import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { type ConfigTable, defaultsOf, environmentName } from "#platform/config/config.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { secretFaults, secretsOf } from "#platform/config/secrets.ts";
import { limitsConfig, migrateConfig, platformConfig } from "#platform/config/settings.ts";
import { SERVICE_NAMES, type ServiceName } from "#platform/service-name.ts";
import { loadMigrationConfig } from "../services/migrate.ts";
import { environmentOf, secretFileOf } from "./kubernetes/environment.ts";
import {
  type Container,
  KUSTOMIZATIONS,
  type Kustomization,
  type Manifest,
  objectsOf,
  type PodSpec,
  render,
} from "./kubernetes/manifests.ts";
import { Schemas } from "./kubernetes/schemas.ts";

const root = join(import.meta.dirname, "..");
/** A stopping process exits after this time in any case (platform/process/process.ts). */
const STOP_S = 15;
const OVERLAYS = ["dev", "production"] as const;

const rendered = new Map(
  (Object.keys(KUSTOMIZATIONS) as Kustomization[]).map((name) => [name, objectsOf(render(name))]),
);
const objectsIn = (name: Kustomization): Manifest[] => rendered.get(name)!;

/** The Deployments and StatefulSets of Lucky's services in an overlay. */
function workloadsIn(
  name: Kustomization,
): { service: ServiceName; object: Manifest; pod: PodSpec }[] {
  return objectsIn(name)
    .filter(({ metadata }) => metadata.labels?.["app.kubernetes.io/part-of"] === "lucky")
    .filter(({ kind }) => kind === "Deployment" || kind === "StatefulSet")
    .map((object) => ({
      service: object.metadata.name as ServiceName,
      object,
      pod: object.spec!.template!.spec,
    }));
}

const containersOf = (pod: PodSpec): Container[] => [
  ...(pod.initContainers ?? []),
  ...pod.containers,
];
const scriptOf = ({ command }: Container) => command?.at(-1) ?? "";

/** A secret of the production overlay, which differs for each key. */
function secretOf(key: string): string {
  if (key.endsWith("POSTGRES_URL"))
    return "postgresql://user:password@postgres.example.org:5432/lucky";
  if (key.endsWith("REDIS_URL")) return "redis://:password@redis.example.org:6379";
  if (key.endsWith("RABBITMQ_URL")) return "amqp://user:password@rabbitmq.example.org:5672";
  return Buffer.concat([Buffer.from(key), Buffer.alloc(32)], 32).toString("base64");
}

async function tableOf(service: ServiceName): Promise<ConfigTable> {
  const module = await import(pathToFileURL(join(root, "services", service, "config.ts")).href);
  return Object.entries(module).find(([key]) => key.endsWith("Config"))![1] as ConfigTable;
}

test("every rendering passes the strict validation of the API server", () => {
  const schemas = new Schemas();
  for (const [name, objects] of rendered)
    assert.deepEqual(
      objects.flatMap((object) => schemas.faultsOf(object)),
      [],
      name,
    );
  const [deployment] = workloadsIn("dev");
  const misspelt = structuredClone(deployment!.object);
  Object.assign(misspelt.spec!.template!.spec.containers[0]!, { readinesProbe: {} });
  assert.deepEqual(schemas.faultsOf(misspelt), [
    "Deployment auth/spec/template/spec/containers/0: must NOT have additional properties readinesProbe",
  ]);
});

test("every overlay runs each service with an existing script, and the flags of npm start", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const flags = scripts.start.replace("exec ", "").split(" ").slice(0, -1);
  for (const overlay of OVERLAYS) {
    const workloads = workloadsIn(overlay);
    assert.deepEqual(workloads.map(({ service }) => service).sort(), [...SERVICE_NAMES].sort());
    for (const { service, pod } of workloads) {
      assert.deepEqual(pod.containers.map(scriptOf), [`services/${service}/main.ts`]);
      for (const container of containersOf(pod)) {
        assert.ok(existsSync(join(root, scriptOf(container))), scriptOf(container));
        assert.deepEqual(container.command!.slice(0, -1), flags);
      }
    }
  }
});

/** The content of the file that LUCKY_SETTINGS_FILE names in a container. */
function liveSettingsOf(container: Container, pod: PodSpec, overlay: Kustomization): string {
  const env = environmentOf(container, {
    pod,
    objects: objectsIn(overlay),
    secrets: secretOf,
  });
  const path = env.LUCKY_SETTINGS_FILE!;
  const mount = container.volumeMounts!.find(({ mountPath }) => mountPath === dirname(path))!;
  const volume = pod.volumes!.find(({ name }) => name === mount.name)!;
  const map = objectsIn(overlay).find(
    ({ kind, metadata }) => kind === "ConfigMap" && metadata.name === volume.configMap!.name,
  );
  return map!.data![basename(path)]!;
}

test("each service accepts the settings and secrets that every overlay gives it, and no more", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lucky-settings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const overlay of OVERLAYS)
    for (const { service, pod } of workloadsIn(overlay))
      for (const container of containersOf(pod)) {
        const env = environmentOf(container, {
          pod,
          objects: objectsIn(overlay),
          secrets: secretOf,
        });
        if (scriptOf(container) === "services/migrate.ts") {
          loadMigrationConfig(env);
          continue;
        }
        const own = await tableOf(service);
        const tables = { platform: platformConfig, limits: limitsConfig, own };
        const needs = ["redisUrl", "rabbitmqUrl", ...secretsOf(service)] as const;
        const others = [...SERVICE_NAMES, "migrate"].filter((name) => name !== service);
        const file = join(folder, "settings.yaml");
        writeFileSync(file, liveSettingsOf(container, pod, overlay));
        const loaded = loadConfig(tables, { env, file, required: { platform: needs }, others });
        assert.deepEqual(secretFaults(service, loaded.platform), []);
        const databases = Object.keys(env).filter((name) => name.includes("POSTGRES_URL"));
        const expected = service === "auth" || service === "server";
        const name = `LUCKY_${service.toUpperCase()}_POSTGRES_URL`;
        assert.deepEqual(databases, expected ? [name] : [], `${overlay}, ${service}`);
      }
});

test("every setting that the manifests name exists", async () => {
  const tables: ConfigTable[] = [platformConfig, limitsConfig, migrateConfig];
  for (const service of SERVICE_NAMES) tables.push(await tableOf(service));
  const known = new Set(
    tables.flatMap(({ name, settings }) =>
      Object.entries(settings).flatMap(([key, { secret }]) => {
        const variable = environmentName(name, key);
        return secret ? [variable, `${variable}_FILE`] : [variable];
      }),
    ),
  );
  known.add("LUCKY_SETTINGS_FILE");
  const files = readdirSync(join(root, "k8s"), { recursive: true, encoding: "utf8" });
  for (const file of files.filter((name) => name.endsWith(".yaml"))) {
    // "LUCKY_${name}_SECRET" is a part of a shell script.
    const names = readFileSync(join(root, "k8s", file), "utf8").match(/\bLUCKY_(?!\$)[A-Z_]+\b/g);
    for (const name of names ?? []) assert.ok(known.has(name), `${file}: ${name}`);
  }
});

test("the production overlay says how to create every secret that it reads", () => {
  const text = readFileSync(join(root, "k8s/overlays/production/kustomization.yaml"), "utf8");
  const head = text.replace(
    /for name in (.*); do echo "LUCKY_\$\{name\}_SECRET/,
    (_, names: string) =>
      names
        .split(" ")
        .map((name) => `LUCKY_${name}_SECRET`)
        .join(" "),
  );
  assert.deepEqual(
    objectsIn("production").filter(({ kind }) => kind === "Secret"),
    [],
  );
  for (const { pod } of workloadsIn("production"))
    for (const container of containersOf(pod))
      for (const { name, value = "" } of container.env ?? []) {
        if (!name.endsWith("_FILE")) continue;
        const { secret, key } = secretFileOf(value, container, pod);
        assert.match(head, new RegExp(`create secret generic ${secret} `));
        assert.match(head, new RegExp(`\\b${key}\\b`));
      }
});

test("a pod has more time to stop than its process takes, and each probe has a path of its own", () => {
  for (const overlay of OVERLAYS)
    for (const { service, pod } of workloadsIn(overlay)) {
      const [container] = pod.containers as [Container];
      const preStop = container.lifecycle?.preStop?.sleep.seconds ?? 0;
      assert.ok(pod.terminationGracePeriodSeconds! >= preStop + STOP_S + 5, service);
      const paths = (["startupProbe", "livenessProbe", "readinessProbe"] as const).map(
        (probe) => container[probe]?.httpGet?.path,
      );
      assert.deepEqual(paths, ["/startz", "/healthz", "/readyz"]);
      // Without it, the Service "gateway" would set LUCKY_… variables if its name began with "lucky-".
      assert.equal(pod.enableServiceLinks, false);
    }
});

test("containers and policies name the ports that the services listen on", async () => {
  for (const overlay of OVERLAYS) {
    const policies = objectsIn(overlay).filter(({ kind }) => kind === "NetworkPolicy");
    for (const { service, pod } of workloadsIn(overlay)) {
      const { port } = defaultsOf(await tableOf(service)) as { port: number };
      const ports = pod.containers[0]!.ports!.map(({ containerPort }) => containerPort);
      assert.deepEqual(ports.sort(), [port, 9100].sort());
      const own = policies.find(({ metadata }) => metadata.name === service)!;
      assert.deepEqual(own.spec!.podSelector!.matchLabels, { "app.kubernetes.io/name": service });
      assert.deepEqual(own.spec!.ingress![0]!.ports, [{ port }]);
    }
  }
});

test("every pod satisfies the restricted Pod Security Standard, and has requests and a memory limit", () => {
  for (const overlay of OVERLAYS) {
    const namespace = objectsIn(overlay).find(({ kind }) => kind === "Namespace")!;
    assert.equal(namespace.metadata.labels!["pod-security.kubernetes.io/enforce"], "restricted");
    for (const { kind, metadata, spec } of objectsIn(overlay)) {
      if (kind !== "Deployment" && kind !== "StatefulSet") continue;
      const pod = spec!.template!.spec;
      assert.equal(pod.securityContext?.runAsNonRoot, true, metadata.name);
      assert.deepEqual(pod.securityContext?.seccompProfile, { type: "RuntimeDefault" });
      for (const { securityContext, resources } of containersOf(pod)) {
        assert.equal(securityContext?.allowPrivilegeEscalation, false, metadata.name);
        assert.deepEqual(securityContext?.capabilities, { drop: ["ALL"] });
        assert.deepEqual(Object.keys(resources?.requests ?? {}).sort(), ["cpu", "memory"]);
        assert.deepEqual(Object.keys(resources?.limits ?? {}), ["memory"]);
      }
    }
  }
});

test("autoscalers and disruption budgets belong to existing workloads, and an autoscaler's has no replicas", () => {
  const workloads = new Map(workloadsIn("production").map((one) => [one.service as string, one]));
  for (const { kind, metadata, spec } of objectsIn("all components")) {
    const workload = workloads.get(metadata.name);
    if (kind === "HorizontalPodAutoscaler") {
      assert.equal(workload?.object.kind, spec!.scaleTargetRef!.kind);
      assert.equal(workload?.object.spec?.replicas, undefined, metadata.name);
    } else if (kind === "PodDisruptionBudget") {
      const { labels } = workload!.object.spec!.template!.metadata;
      for (const [key, value] of Object.entries(spec!.selector!.matchLabels))
        assert.equal(labels[key], value);
    }
  }
  const budgets = objectsIn("production").filter(({ kind }) => kind === "PodDisruptionBudget");
  assert.deepEqual(budgets.map(({ metadata }) => metadata.name).sort(), [...SERVICE_NAMES].sort());
});
