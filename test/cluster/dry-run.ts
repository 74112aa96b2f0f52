import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Cluster } from "../../scripts/cluster/cluster.ts";
import { KUSTOMIZATIONS, type Kustomization, render } from "../kubernetes/manifests.ts";

const root = join(import.meta.dirname, "../..");

/** Has the API server validate everything in k8s/, strictly and without storing it. */
export function validateOnServer(cluster: Cluster): void {
  const namespace = readFileSync(join(root, "k8s/base/namespace.yaml"), "utf8");
  cluster.kubectl(["apply", "--filename=-"], { input: namespace });
  const definitions = readFileSync(cluster.binary("gateway-api.yaml"), "utf8");
  cluster.kubectl(["apply", "--server-side", "--filename=-"], { input: definitions });
  cluster.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
  for (const name of Object.keys(KUSTOMIZATIONS) as Kustomization[]) {
    const flags = ["--dry-run=server", "--validate=strict", "--filename=-"];
    const output = cluster.kubectl(["apply", ...flags], { input: render(name) });
    // Pod Security warns when it would refuse the pods of a workload.
    if (/warning/i.test(output)) throw new Error(`${KUSTOMIZATIONS[name]}:\n${output}`);
  }
}
