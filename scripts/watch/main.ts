/** Writes the dashboards of Grafana into k8s/watch/grafana/dashboards. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DASHBOARDS, grafanaJson } from "./dashboards.ts";

const folder = join(import.meta.dirname, "../../k8s/watch/grafana/dashboards");
await mkdir(folder, { recursive: true });
for (const dashboard of DASHBOARDS)
  await writeFile(join(folder, `${dashboard.name}.json`), grafanaJson(dashboard));
