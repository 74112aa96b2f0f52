import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { parseDocument } from "yaml";
import { type ConfigTable, defaultsOf } from "#platform/config/config.ts";
import { loadConfig } from "#platform/config/load-config.ts";
import { secretFaults, secretsOf } from "#platform/config/secrets.ts";
import { limitsConfig, platformConfig } from "#platform/config/settings.ts";
import { SERVICE_NAMES } from "#platform/service-name.ts";
import { connectConfig } from "../services/connect/config.ts";
import { gatewayConfig } from "../services/gateway/config.ts";
import { loadMigrationConfig } from "../services/migrate.ts";

interface ComposeService {
  readonly build?: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly depends_on: Readonly<Record<string, unknown>>;
}

const root = join(import.meta.dirname, "..");
const document = parseDocument(readFileSync(join(root, "compose.yaml"), "utf8"), { merge: true });
const { services = {} } = (document.toJS() ?? {}) as { services?: Record<string, ComposeService> };
const own = Object.entries(services).filter(([, { build }]) => build !== undefined);

test("compose.yaml is valid YAML and runs every service", () => {
  assert.deepEqual([...document.errors, ...document.warnings], []);
  const run = own.map(([, { command }]) => command.at(-1));
  assert.deepEqual(
    [...new Set(run)].sort(),
    [...SERVICE_NAMES.map((name) => `services/${name}/main.ts`), "services/migrate.ts"].sort(),
  );
});

/** The environment of a service, with a value for each secret. */
function environmentOf({ environment }: ComposeService): Record<string, string> {
  // 32 bytes, which begin with the name of the variable: each secret must differ.
  const secretFor = (_: string, variable: string) =>
    Buffer.concat([Buffer.from(variable), Buffer.alloc(32)], 32).toString("base64");
  return Object.fromEntries(
    Object.entries(environment).map(([key, value]) => [
      key,
      String(value).replace(/\$\{(\w+):\?[^}]*\}/g, secretFor),
    ]),
  );
}

test("compose.yaml gives auth and server a user of the database each, gateway and connect none", () => {
  const users = own.map(([name, service]) => {
    const urls = Object.entries(environmentOf(service)).filter(([key]) => /POSTGRES/.test(key));
    return [name, urls.map(([key, url]) => `${key} ${/\/\/(\w+):/.exec(url)?.[1]}`)] as const;
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

test("when all services stop together, the gateway waits for connect's sessions, within the time of a stop", () => {
  const { drainMs } = defaultsOf(gatewayConfig);
  assert.ok(drainMs > defaultsOf(connectConfig).drainMs);
  assert.ok(drainMs < 15_000);
});
