/**
 * Local images under the names that Dockerfile and compose.yaml use, made of Debian's packages for
 * machines that reach no image registry. They take the same users, folders, variables and commands as
 * the official images, as far as compose.yaml uses them.
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { findBinaries } from "#platform/postgres/embedded/binaries.ts";
import { findProgram } from "../servers.ts";
import { cacheFolder, type Podman } from "./podman.ts";

const root = join(import.meta.dirname, "../..");
const DEBIAN = "localhost/debian:bookworm-slim";
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";
const ENVIRONMENT = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

interface StandIn {
  readonly image: string;
  /** Folder below stand-ins/ with the Containerfile. */
  readonly folder: string;
  /** Adds files of this machine to the context of the build. */
  add?(context: string): void | Promise<void>;
}

/** The image that the Dockerfile starts from. */
function baseOf(dockerfile: string): string {
  const base = /^ARG BASE=(\S+)$/m.exec(readFileSync(dockerfile, "utf8"))?.[1];
  if (base === undefined) throw new Error(`${dockerfile} has no ARG BASE`);
  return base;
}

/** The images of compose.yaml for which there is a folder with the name of their service. */
function backends(): StandIn[] {
  const { services } = parse(readFileSync(join(root, "compose.yaml"), "utf8"), { merge: true }) as {
    services: Record<string, { image?: string }>;
  };
  return readdirSync(join(import.meta.dirname, "stand-ins")).flatMap((folder) => {
    const image = services[folder]?.image;
    return image === undefined
      ? []
      : [{ image, folder, ...(folder === "postgres" && { add: addPostgres }) }];
  });
}

/** Adds the PostgreSQL of the npm package: Debian's is older. */
async function addPostgres(context: string): Promise<void> {
  const { postgres } = await findBinaries();
  const native = dirname(dirname(postgres));
  cpSync(native, join(context, "native"), { recursive: true, verbatimSymlinks: true });
}

/** The image of Node: this machine's Node and npm. */
const node: StandIn = {
  image: baseOf(join(root, "Dockerfile")),
  folder: "node",
  add(context) {
    cpSync(process.execPath, join(context, "node"), { dereference: true });
    // …/npm/bin/npm-cli.js
    const npm = realpathSync(findProgram("npm", [])!);
    cpSync(dirname(dirname(npm)), join(context, "npm"), { recursive: true, dereference: true });
  },
};

/** Makes the images; those that are up to date come from the cache. */
export async function makeStandIns(podman: Podman): Promise<void> {
  if (!podman.has(DEBIAN)) importDebian(podman);
  for (const one of [node, ...backends()]) await make(podman, one);
}

function importDebian(podman: Podman): void {
  const folder = join(cacheFolder, "debian");
  const archive = `${folder}.tar`;
  if (!existsSync(archive)) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const packages = ["--variant=minbase", "--include=ca-certificates"];
    execFileSync("debootstrap", [...packages, "bookworm", folder], { stdio: "inherit" });
    // The official slim image has none of these either.
    const unused = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"];
    const caches = ["var/cache/apt", "var/lib/apt/lists", "var/cache/debconf", "var/log"];
    for (const path of [...unused, ...caches])
      execFileSync("find", [join(folder, path), "-mindepth", "1", "-delete"]);
    mkdirSync(join(folder, "var/lib/apt/lists/partial"), { recursive: true });
    mkdirSync(join(folder, "var/cache/apt/archives/partial"), { recursive: true });
    // The connection to a registry may need the authorities that this machine trusts.
    cpSync(CERTIFICATES, join(folder, CERTIFICATES));
    execFileSync("tar", ["-C", folder, "-cf", archive, "."]);
    rmSync(folder, { recursive: true });
  }
  podman.run("import", "--change", `ENV ${ENVIRONMENT}`, archive, DEBIAN);
}

async function make(podman: Podman, { image, folder, add }: StandIn): Promise<void> {
  const context = mkdtempSync(join(tmpdir(), "lucky-image-"));
  try {
    cpSync(join(import.meta.dirname, "stand-ins", folder), context, { recursive: true });
    await add?.(context);
    const name = image.includes("/") ? `docker.io/${image}` : `docker.io/library/${image}`;
    console.log(`${name} …`);
    podman.run("build", "--network=host", "--quiet", "--tag", name, context);
  } finally {
    rmSync(context, { recursive: true });
  }
}
