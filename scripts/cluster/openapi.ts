/**
 * Writes test/kubernetes/schemas.json.gz: the schemas of the API server for the kinds that k8s/ uses, without their
 * descriptions. Run it after a change of the version in scripts/cluster/build, or when k8s/ uses a new kind.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  KUSTOMIZATIONS,
  type Kustomization,
  objectsOf,
  render,
} from "../../test/kubernetes/manifests.ts";
import { type Cluster, startCluster } from "./cluster.ts";

const file = join(import.meta.dirname, "../../test/kubernetes/schemas.json.gz");

interface Schema {
  readonly [key: string]: unknown;
}
type Schemas = Record<string, Schema>;

/** All schemas of a group, such as "apis/apps/v1" or "api/v1". */
function schemasOf(cluster: Cluster, apiVersion: string): Schemas {
  const group = apiVersion.includes("/") ? `apis/${apiVersion}` : `api/${apiVersion}`;
  const document = JSON.parse(cluster.kubectl(["get", `--raw=/openapi/v3/${group}`])) as {
    components: { schemas: Schemas };
  };
  return document.components.schemas;
}

/** The name of the schema of a kind. */
function nameOf(schemas: Schemas, apiVersion: string, kind: string): string {
  const [version, group = ""] = apiVersion.split("/").reverse();
  for (const [name, schema] of Object.entries(schemas)) {
    const kinds = (schema["x-kubernetes-group-version-kind"] ?? []) as Record<string, string>[];
    if (
      kinds.length === 1 &&
      kinds[0]!.kind === kind &&
      kinds[0]!.version === version &&
      kinds[0]!.group === group
    )
      return name;
  }
  throw new Error(`the API server has no ${apiVersion} ${kind}`);
}

/** A schema without descriptions, defaults and extensions, which validation does not use. */
function reduced(value: unknown, isProperties = false): unknown {
  if (Array.isArray(value)) return value.map((one) => reduced(one));
  if (typeof value !== "object" || value === null) return value;
  const dropped = (key: string) =>
    !isProperties &&
    (key === "description" || key === "default" || key.startsWith("x-kubernetes-"));
  const open = !isProperties && "x-kubernetes-preserve-unknown-fields" in value;
  return Object.fromEntries(
    Object.entries({ ...value, ...(open && { additionalProperties: true }) })
      .filter(([key]) => !dropped(key))
      .map(([key, part]) => [key, reduced(part, !isProperties && key === "properties")]),
  );
}

/** Adds a schema and those that it refers to. */
function collect(all: Schemas, name: string, into: Schemas): void {
  if (name in into) return;
  into[name] = reduced(all[name]) as Schema;
  for (const [, other] of JSON.stringify(into[name]).matchAll(/"#\/components\/schemas\/([^"]+)"/g))
    collect(all, other!, into);
}

/** The Gateway API's kinds are no part of Kubernetes: their definitions come from its module. */
function installGatewayApi(cluster: Cluster): void {
  const crds = readFileSync(cluster.binary("gateway-api.yaml"), "utf8");
  cluster.kubectl(["apply", "--server-side", "--filename=-"], { input: crds });
  cluster.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
}

const kustomizations = Object.keys(KUSTOMIZATIONS) as Kustomization[];
const documents = kustomizations.flatMap((name) => objectsOf(render(name)));
const cluster = await startCluster({ onlyApi: true, print: (line) => console.log(line) });
try {
  installGatewayApi(cluster);
  const kinds: Record<string, string> = {};
  const schemas: Schemas = {};
  for (const { apiVersion, kind } of documents) {
    const key = `${apiVersion} ${kind}`;
    if (key in kinds) continue;
    const all = schemasOf(cluster, apiVersion);
    kinds[key] = nameOf(all, apiVersion, kind);
    collect(all, kinds[key], schemas);
  }
  const version = JSON.parse(cluster.kubectl(["get", "--raw=/version"])).gitVersion;
  const text = JSON.stringify({ version, kinds, schemas });
  writeFileSync(file, gzipSync(text, { level: 9 }));
  console.log(
    `${file}: ${Object.keys(kinds).length} kinds, ${Object.keys(schemas).length} schemas`,
  );
} finally {
  await cluster.stop();
}
