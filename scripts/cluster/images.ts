import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildLucky, IMAGE } from "../images/lucky-image.ts";
import { openPodman, type Podman } from "../images/podman.ts";
import { makeStandIns } from "../images/stand-ins.ts";
import { ctr, PAUSE_IMAGE } from "./node.ts";

/** Image with one more migration, the next version of Lucky. */
export const NEXT_IMAGE = "localhost/lucky:next";
const DNS_IMAGE = "localhost/coredns:1";
const BACKENDS = ["postgres:18", "redis:7", "rabbitmq:4"].map(
  (name) => `docker.io/library/${name}`,
);

/** A change that the running version survives: it only adds. */
const MIGRATION = `-- Up Migration
SET LOCAL lock_timeout = '2s';
ALTER TABLE im.conversation ADD COLUMN next_version boolean NOT NULL DEFAULT false;
CREATE TABLE im.next_version (conversation_id bigint PRIMARY KEY);
`;

/** The images for the cluster, in podman's storage. */
export interface Images {
  /** Puts them into the containerd of a cluster. */
  load(binary: (name: string) => string): void;
}

/** Builds all images: the one of Lucky, its next version, and those of the backends. */
export async function buildImages(): Promise<Images> {
  const podman = openPodman();
  await makeStandIns(podman);
  buildLucky(podman);
  buildFrom(podman, NEXT_IMAGE, {
    Containerfile: `FROM ${IMAGE}\nCOPY 9000_next_version.sql prisma/migrations/\n`,
    "9000_next_version.sql": MIGRATION,
  });
  return {
    load(binary) {
      buildBinaryImage(podman, PAUSE_IMAGE, binary("pause"));
      buildBinaryImage(podman, DNS_IMAGE, binary("coredns"));
      const folder = mkdtempSync(join(tmpdir(), "lucky-images-"));
      try {
        const archive = join(folder, "images.tar");
        const all = [IMAGE, NEXT_IMAGE, PAUSE_IMAGE, DNS_IMAGE, ...BACKENDS];
        podman.run("save", "--quiet", "--multi-image-archive", `--output=${archive}`, ...all);
        ctr("images", "import", archive);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  };
}

/** An image with one static program. */
function buildBinaryImage(podman: Podman, image: string, program: string): void {
  buildFrom(podman, image, {
    Containerfile: 'FROM scratch\nCOPY program /program\nENTRYPOINT ["/program"]\n',
    program: { copy: program },
  });
}

function buildFrom(
  podman: Podman,
  image: string,
  files: Readonly<Record<string, string | { readonly copy: string }>>,
): void {
  const context = mkdtempSync(join(tmpdir(), "lucky-image-"));
  try {
    for (const [name, content] of Object.entries(files))
      if (typeof content === "string") writeFileSync(join(context, name), content);
      else copyFileSync(content.copy, join(context, name));
    podman.run("build", "--network=host", "--format=docker", "--quiet", "--tag", image, context);
  } finally {
    rmSync(context, { recursive: true });
  }
}
