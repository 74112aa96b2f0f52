/**
 * `npm run images`: makes the local images of compose.yaml and of the cluster, and builds the image of
 * Lucky with its SBOM, with podman on Debian, as root.
 */
import { buildLucky } from "./lucky-image.ts";
import { openPodman } from "./podman.ts";
import { makeStandIns } from "./stand-ins.ts";

const podman = openPodman();
await makeStandIns(podman);
const { image, bytes, sbomFile } = buildLucky(podman);
console.log(`${image}: ${(bytes / 1e6).toFixed(0)} MB. SBOM: ${sbomFile}`);
