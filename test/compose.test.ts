import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { parseDocument } from "yaml";
import type { ConfigTable } from "#platform/config/config.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { secretFaults, secretsOf } from "#platform/config/secrets.ts";
import { limitsConfig, platformConfig } from "#platform/config/settings.ts";
import { SERVICE_NAMES } from "#platform/service-name.ts";
import { loadMigrationConfig } from "../services/migrate.ts";

interface ComposeService {
  readonly build?: string;
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on: Readonly<Record<string, unknown>>;
  readonly secrets?: readonly (string | { readonly source: string; readonly target: string })[];
  readonly networks?: readonly string[] | Readonly<Record<string, { ipv4_address: string }>>;
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly [key: string]: unknown;
}

interface Compose {
  readonly services: Record<string, ComposeService>;
  readonly networks: Record<string, { readonly internal?: boolean } | null>;
  readonly secrets: Record<string, { readonly file: string }>;
}

const root = join(import.meta.dirname, "..");
const text = readFileSync(join(root, "compose.yaml"), "utf8");
const document = parseDocument(text, { merge: true });
const { services, networks, secrets } = document.toJS() as Compose;
const own = Object.entries(services).filter(([, { build }]) => build !== undefined);

const secretsFolder = mkdtempSync(join(tmpdir(), "lucky-compose-"));
after(() => rmSync(secretsFolder, { recursive: true }));
execFileSync(join(root, "scripts/compose-secrets"), {
  env: { ...process.env, LUCKY_SECRETS: secretsFolder },
});

test("compose.yaml is valid YAML and runs every service", () => {
  assert.deepEqual([...document.errors, ...document.warnings], []);
  const run = own.map(([, { command }]) => command.at(-1));
  assert.deepEqual(
    [...new Set(run)].sort(),
    [...SERVICE_NAMES.map((name) => `services/${name}/main.ts`), "services/migrate.ts"].sort(),
  );
});

/** The environment of a service, with the files of the secrets that it has. */
function environmentOf({ environment = {}, secrets = [] }: ComposeService): Record<string, string> {
  const mounted = secrets.map((one) => (typeof one === "string" ? one : one.source));
  return Object.fromEntries(
    Object.entries(environment).map(([key, value]) => {
      const name = /^\/run\/secrets\/(\w+)$/.exec(value)?.[1];
      if (name === undefined) return [key, String(value)];
      assert.ok(mounted.includes(name), `${key}: the service has no secret ${name}`);
      return [key, join(secretsFolder, name)];
    }),
  );
}

test("scripts/compose-secrets creates the secrets that the containers get, each once, and keeps them", () => {
  const files = () =>
    readdirSync(secretsFolder).map((name) => readFileSync(join(secretsFolder, name), "utf8"));
  const before = files();
  assert.equal(new Set(before).size, before.length);
  execFileSync(join(root, "scripts/compose-secrets"), {
    env: { ...process.env, LUCKY_SECRETS: secretsFolder },
  });
  assert.deepEqual(files(), before);
  const used = Object.values(services).flatMap(({ secrets = [] }) => secrets);
  const names = new Set(used.map((one) => (typeof one === "string" ? one : one.source)));
  assert.deepEqual(Object.keys(secrets).sort(), [...names].sort());
  for (const [name, { file }] of Object.entries(secrets)) {
    assert.equal(file, `\${LUCKY_SECRETS:-./data/secrets}/${name}`);
    assert.ok(existsSync(join(secretsFolder, name)), name);
  }
  assert.doesNotMatch(text, /\$\{\w+:?\?/, "a secret in a variable");
});

test("every container of compose.yaml is bounded, read-only and without rights, and only the gateway is public", () => {
  for (const [name, service] of Object.entries(services)) {
    assert.equal(service.read_only, true, name);
    assert.deepEqual(service.cap_drop, ["ALL"], name);
    assert.deepEqual(service.security_opt, ["no-new-privileges:true"], name);
    assert.match(String(service.mem_limit), /^\d+[mg]$/, name);
    assert.ok(service.networks, `${name} is on the default network`);
  }
  const networksOf = ({ networks = [] }: ComposeService) =>
    Array.isArray(networks) ? networks : Object.keys(networks);
  const everyday = Object.entries(services).filter(([, { profiles }]) => profiles === undefined);
  const open = everyday.filter(([, one]) => networksOf(one).some((at) => !networks[at]?.internal));
  assert.deepEqual(
    open.map(([name]) => name),
    ["gateway"],
  );
  assert.deepEqual(
    everyday.flatMap(([name, { ports = [] }]) => ports.map(() => name)),
    ["gateway"],
  );
  const onDatabase = everyday.filter(([, one]) => networksOf(one).includes("database"));
  assert.deepEqual(
    onDatabase.map(([name]) => name),
    ["postgres", "migrate", "auth", "server-0", "server-1"],
  );
  const { edge, gateway } = services as { edge: ComposeService; gateway: ComposeService };
  const { front } = edge.networks as Record<string, { ipv4_address: string }>;
  assert.equal(gateway.environment?.LUCKY_GATEWAY_TRUSTED_PROXIES, `${front?.ipv4_address}/32`);
});

test("the image has the Node of the scripts", () => {
  const { version } = JSON.parse(readFileSync(join(root, "scripts/node/package.json"), "utf8"));
  const dockerfile = readFileSync(join(root, "Dockerfile"), "utf8");
  assert.match(dockerfile, new RegExp(`^ARG BASE=node:${version}-`, "m"));
  for (const [, base] of dockerfile.matchAll(/^FROM (\S+)/gm))
    assert.match(base!, /^(\$\{BASE\}|scratch)$/);
});

test("compose.yaml gives auth and server a user of the database each, gateway and connect none", () => {
  const users = own.map(([name, service]) => {
    const files = Object.entries(environmentOf(service)).filter(([key]) => /POSTGRES/.test(key));
    const urls = files.map(([key, file]) => [
      key.replace(/_FILE$/, ""),
      readFileSync(file, "utf8"),
    ]);
    return [name, urls.map(([key, url]) => `${key} ${/\/\/(\w+):/.exec(url!)?.[1]}`)] as const;
  });
  const server = ["LUCKY_SERVER_POSTGRES_URL server"];
  assert.deepEqual(Object.fromEntries(users), {
    migrate: ["LUCKY_AUTH_POSTGRES_URL auth", ...server, "LUCKY_MIGRATE_POSTGRES_URL lucky"],
    auth: ["LUCKY_AUTH_POSTGRES_URL auth"],
    "server-0": server,
    "server-1": server,
    "connect-0": [],
    "connect-1": [],
    "connect-2": [],
    gateway: [],
  });
});

for (const [name, service] of own)
  test(`compose.yaml starts ${name} with an existing script and a valid configuration`, async () => {
    const { command, depends_on } = service;
    const script = join(root, command.at(-1)!);
    assert.ok(existsSync(script), script);
    const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const start = scripts.start.replace("exec ", "").split(" ");
    assert.deepEqual(command.slice(0, -1), start.slice(0, -1));
    for (const other of Object.keys(depends_on)) assert.ok(other in services, other);

    const env = environmentOf(service);
    if (script.endsWith("migrate.ts")) return void loadMigrationConfig(env);
    const module = await import(pathToFileURL(join(dirname(script), "config.ts")).href);
    const table = Object.entries(module).find(([key]) => key.endsWith("Config"))![1];
    const tables = { platform: platformConfig, limits: limitsConfig, own: table as ConfigTable };
    const started = SERVICE_NAMES.find((one) => command.at(-1) === `services/${one}/main.ts`)!;
    const needs = ["redisUrl", ...secretsOf(started)] as const;
    const loaded = loadConfig(tables, {
      env,
      required: { platform: needs },
      others: SERVICE_NAMES,
    });
    assert.deepEqual(secretFaults(started, loaded.platform), []);
  });
