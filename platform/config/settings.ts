import { type ConfigOf, defineConfig, environmentName, setting } from "./config.ts";
import { OTLP_URL, POSTGRES_URL, RABBITMQ_URL, REDIS_URL } from "./urls.ts";

const MIN_SECRET_CHARS = 32;

/** Maximum databases of one log: a cursor of Sync has a position for each of them. */
export const MAX_LOGS = 32;

/** Setting of the secret with which a service proves itself to the services that it calls. */
function secretOf(service: string, accepting: string) {
  return setting.list({
    default: [],
    secret: true,
    items: {
      plural: `texts of at least ${MIN_SECRET_CHARS} characters`,
      allows: (item) => item.length >= MIN_SECRET_CHARS,
    },
    doc: `Secret with which ${service} proves itself to other services. In the mesh, it is needed by ${service}, which presents it, and by ${accepting}; every other process refuses to start with it. During a rotation it has two values: ${service} presents the first one, and both are accepted.`,
  });
}

/** Settings that all processes share. Read from LUCKY_<KEY>. */
export const platformConfig = defineConfig("", {
  logLevel: setting.choice(["trace", "debug", "info", "warn", "error", "silent"], {
    live: true,
    default: "info",
    doc: "Lowest level of the lines that are logged.",
  }),
  dataDir: setting.text({
    default: "./data",
    doc: "Folder in which a single process stores its own database and its keys.",
  }),
  postgresUrl: setting.text({
    default: "",
    secret: true,
    form: POSTGRES_URL,
    doc: "URL of PostgreSQL, postgresql://user:password@host:port/database, for auth, server and npm run migrate; special characters of the password, such as # or a comma, are percent-encoded. Each of them can have a URL of its own instead. The mesh needs it; gateway and connect use no database. A single process starts its own PostgreSQL when it is empty.",
  }),
  postgresLogUrls: setting.list({
    default: [],
    secret: true,
    items: POSTGRES_URL,
    max: MAX_LOGS,
    doc: "URLs of the databases that hold conversations and their entries, for server, npm run migrate and npm run buckets. Each conversation is in one of them. Empty: one database, the one of server. A further database starts without conversations: npm run buckets moves some to it.",
  }),
  postgresPooler: setting.choice(["none", "prepared", "unprepared"], {
    default: "none",
    doc: "Pooler in transaction mode between auth, server and PostgreSQL, such as PgBouncer: none; prepared, which keeps named statements (PgBouncer 1.21 or later, with max_prepared_statements); or unprepared, which loses them.",
  }),
  redisUrl: setting.text({
    default: "",
    secret: true,
    form: REDIS_URL,
    doc: "URL of Redis, redis://[:password@]host:port. The mesh needs it.",
  }),
  rabbitmqUrl: setting.text({
    default: "",
    secret: true,
    form: RABBITMQ_URL,
    doc: "URL of RabbitMQ, amqp://user:password@host:port. The mesh needs it.",
  }),
  rabbitmqQuorum: setting.bool({
    default: false,
    doc: "Whether queues are replicated to a majority of the nodes of a RabbitMQ cluster, instead of stored on one node. Decide before the first start: an existing queue keeps its type.",
  }),
  connectSecret: secretOf("connect", "auth and server"),
  gatewaySecret: secretOf("gateway", "auth, connect and server"),
  serverSecret: secretOf("server", "auth"),
  meshTlsCertFile: setting.text({
    default: "",
    doc: 'File with the certificate of this service for TLS between services, in PEM. Its DNS name is the name of the service, such as "auth". Set all three files in every process, or none. A renewed file needs a restart.',
  }),
  meshTlsKeyFile: setting.text({
    default: "",
    doc: "File with the private key of meshTlsCertFile, in PEM.",
  }),
  meshTlsCaFile: setting.text({
    default: "",
    doc: "File with the authority that signs the certificates of all services, in PEM. While the authority is replaced, the file contains both.",
  }),
  instanceId: setting.text({
    default: "",
    doc: 'Stable name of this process, such as "connect-0". It stays the same after a restart, and no other process may use it. Empty: the names of the service and of the host.',
  }),
  host: setting.text({
    default: "127.0.0.1",
    doc: "Address to listen on; 0.0.0.0 for all addresses of the machine.",
  }),
  advertiseHost: setting.text({
    default: "",
    doc: "Host name or address under which other services reach this process. Empty: the address that it listens on, or 127.0.0.1 when it listens on all addresses.",
  }),
  opsHost: setting.text({
    default: "127.0.0.1",
    doc: "Address of the operator's port, which serves /metrics, /healthz, /startz and /readyz. In the mesh, server asks each process there for its settings: listen on an address that server reaches, and that nobody reaches from outside.",
  }),
  opsPort: setting.integer({
    default: 0,
    min: 0,
    max: 65535,
    doc: "The operator's port; 0 selects any free port.",
  }),
  otlpUrl: setting.text({
    default: "",
    secret: true,
    form: OTLP_URL,
    doc: "URL of the collector that receives traces by OTLP over HTTP; /v1/traces is added. Empty: no traces, and OpenTelemetry's SDK is not loaded. OTEL_EXPORTER_OTLP_HEADERS and the other standard variables of the exporter, except for the endpoint, apply too. While it is set, /metrics has the format of OpenMetrics, with exemplars.",
  }),
  traceOneIn: setting.integer({
    default: 0,
    min: 0,
    max: 1_000_000_000,
    unit: "calls",
    live: true,
    doc: "One in so many public calls, and sends of devices, starts a trace in this process; 0 starts none. Set it in gateway and connect: auth and server continue the traces of these.",
  }),
  traceClientsPerSecond: setting.integer({
    default: 0,
    min: 0,
    max: 1_000,
    unit: "traces a second",
    live: true,
    doc: "Maximum sampled traces of clients that this process continues, in addition to traceOneIn; 0: it ignores traceparent of clients. For further ones traceOneIn decides.",
  }),
});
export type PlatformConfig = ConfigOf<typeof platformConfig>;

/** Limits of callers. Read from LUCKY_LIMITS_<KEY>. */
export const limitsConfig = defineConfig("limits", {
  connections: setting.integer({
    live: true,
    default: 0,
    min: 0,
    max: 10_000_000,
    unit: "connections",
    doc: "Maximum open connections of clients to this process, for all of its public ports; further ones are closed at once. 0, or more than its open-file limit allows: as many as that limit allows after 256 files for databases, other services and the operator's port. A connection takes up to three files in a single process, two in a gateway, one in connect.",
  }),
  connectionsPerAddress: setting.integer({
    live: true,
    default: 0,
    min: 0,
    max: 10_000_000,
    unit: "connections",
    doc: "Maximum open connections of one IPv4 address or one IPv6 network of 64 bits to this process; further ones are closed at once. 0: a quarter of all, at most 1000. Raise it when many users share one address. For clients behind trusted proxies, it bounds their calls and WebSockets in flight instead, which are refused with 429.",
  }),
  connectionsPerNetwork: setting.integer({
    live: true,
    default: 0,
    min: 0,
    max: 10_000_000,
    unit: "connections",
    doc: "Maximum open connections of one IPv6 network of 48 bits to this process; further ones are closed at once. 0: half of all, at most 4000.",
  }),
  readPerSecond: setting.integer({
    live: true,
    default: 200,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    doc: "Maximum reads of one user, or of one address without a login; further calls are refused with RATE_LIMITED. Each user that a call reads in a batch counts as a call. For IPv6 an address is a /64 network, here and below; 16 times as many are allowed to all of a /48 network.",
  }),
  writePerSecond: setting.integer({
    live: true,
    default: 60,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    doc: "Maximum changes of one user other than messages, and maximum token refreshes of one address; further calls are refused with RATE_LIMITED. Each user that a call adds to a group counts as a call, and so do ten cursors in Acknowledge.",
  }),
  sendPerSecond: setting.integer({
    live: true,
    default: 200,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    doc: "Maximum sends of one user by RPC; further calls are refused with RATE_LIMITED. Sends over the socket have a separate bound.",
  }),
  credentialPerMinute: setting.integer({
    live: true,
    default: 30,
    min: 1,
    max: 1_000_000,
    unit: "calls a minute",
    doc: "Maximum registrations, logins, codes and QR logins of one address; further calls are refused with RATE_LIMITED.",
  }),
  searchPerMinute: setting.integer({
    live: true,
    default: 30,
    min: 1,
    max: 1_000_000,
    unit: "calls a minute",
    doc: "Maximum searches of one user for users; further calls are refused with RATE_LIMITED.",
  }),
  refusalsPerSecond: setting.integer({
    live: true,
    default: 10,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    tuning: true,
    doc: "Calls of one address that the gateway refuses for their token, method, type or size, six seconds' worth at once. An address beyond it is refused with RATE_LIMITED for the rest of the six seconds, except for users whose tokens the gateway has verified before; a user beyond it likewise. Counted in each gateway.",
  }),
});
export type LimitsConfig = ConfigOf<typeof limitsConfig>;

/** Settings of `npm run migrate` and `npm run buckets`. Read from LUCKY_MIGRATE_<KEY>. */
export const migrateConfig = defineConfig("migrate", {
  postgresUrl: setting.text({
    default: "",
    secret: true,
    form: POSTGRES_URL,
    doc: "URL of PostgreSQL for npm run migrate, with the user that owns Lucky's tables. Empty: LUCKY_POSTGRES_URL.",
  }),
  postgresLogUrls: setting.list({
    default: [],
    secret: true,
    items: POSTGRES_URL,
    max: MAX_LOGS,
    doc: "URLs of the databases of LUCKY_POSTGRES_LOG_URLS, in the same order, for npm run migrate and npm run buckets, with the user that owns Lucky's tables. Empty: LUCKY_POSTGRES_LOG_URLS.",
  }),
});

/** A URL of PostgreSQL, and the environment variable that sets it. */
export interface PostgresAddress {
  /** Empty when neither setting has a value. */
  readonly url: string;
  readonly variable: string;
}

/** The databases of the log; without a list, `home`, the database of server. */
export function logAddresses(
  { postgresLogUrls }: Pick<PlatformConfig, "postgresLogUrls">,
  home: PostgresAddress,
): PostgresAddress[] {
  if (postgresLogUrls.length === 0) return [home];
  const variable = environmentName("", "postgresLogUrls");
  return postgresLogUrls.map((url, at) => ({ url, variable: `${variable}, URL ${at + 1}` }));
}

/** The `postgresUrl` of a table, or else the one that all processes share. */
export function postgresAddress(
  table: string,
  { postgresUrl }: { readonly postgresUrl: string },
  shared: Pick<PlatformConfig, "postgresUrl">,
): PostgresAddress {
  return postgresUrl === ""
    ? { url: shared.postgresUrl, variable: environmentName("", "postgresUrl") }
    : { url: postgresUrl, variable: environmentName(table, "postgresUrl") };
}
