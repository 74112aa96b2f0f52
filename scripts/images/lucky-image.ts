import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { cacheFolder, type Podman } from "./podman.ts";

const root = join(import.meta.dirname, "../..");
export const IMAGE = "localhost/lucky:latest";

export interface LuckyImage {
  readonly image: string;
  /** Size of all layers. */
  readonly bytes: number;
  /** The software bill of materials (CycloneDX, JSON). */
  readonly sbomFile: string;
}

/** Builds the image of all services, and writes its SBOM beside it, into the cache folder. */
export function buildLucky(podman: Podman): LuckyImage {
  const revision = execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" });
  const common = [
    "--network=host",
    "--build-arg",
    `REVISION=${revision.trim()}`,
    // The format that knows a HEALTHCHECK.
    "--format=docker",
  ];
  podman.show("build", "--quiet", ...common, "--tag", IMAGE, root);
  podman.show("build", "--quiet", ...common, "--target=sbom", `--output=${cacheFolder}`, root);
  const bytes = Number(podman.run("image", "inspect", "--format={{.Size}}", IMAGE));
  return { image: IMAGE, bytes, sbomFile: join(cacheFolder, "lucky.cdx.json") };
}
