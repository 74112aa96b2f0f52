import { type ConfigOf, defineConfig, setting } from "./config.ts";

/** What all processes share. Read from LUCKY_<KEY>. */
export const platformConfig = defineConfig("", {
  logLevel: setting.choice(["trace", "debug", "info", "warn", "error", "silent"], {
    default: "info",
    doc: "Least level of what is logged.",
  }),
  dataDir: setting.text({
    default: "./data",
    doc: "Folder of what one process keeps by itself: its database, its keys.",
  }),
  postgresUrl: setting.text({
    default: "",
    secret: true,
    doc: "PostgreSQL, postgres://user:password@host:port/database. Empty in one process: brought along.",
  }),
  redisUrl: setting.text({
    default: "",
    secret: true,
    doc: "Redis, redis://[:password@]host:port. Needed by the mesh.",
  }),
  rabbitmqUrl: setting.text({
    default: "",
    secret: true,
    doc: "RabbitMQ, amqp://user:password@host:port. Needed by the mesh.",
  }),
  rabbitmqQuorum: setting.bool({
    default: false,
    doc: "Whether queues lie on a majority of a cluster of RabbitMQ, instead of on one of its nodes. Decide before the first start: a queue keeps its kind.",
  }),
  meshSecret: setting.text({
    default: "",
    secret: true,
    minLength: 32,
    doc: "What services prove themselves to each other with. Needed by the mesh; the same everywhere.",
  }),
  instanceId: setting.text({
    default: "",
    doc: "Stable name of this process, such as \"connect-0\"; kept over a restart, never shared by two. Empty: the service's name and the host's.",
  }),
  host: setting.text({
    default: "127.0.0.1",
    doc: "Address to listen on; 0.0.0.0 for every one that the machine has.",
  }),
  advertiseHost: setting.text({
    default: "",
    doc: "Host name or address under which other services reach this process. Empty: 127.0.0.1 when it listens there or everywhere, else the address it listens on.",
  }),
  opsHost: setting.text({
    default: "127.0.0.1",
    doc: "Address of the operator's port: /metrics, /healthz, /readyz.",
  }),
  opsPort: setting.integer({
    default: 0,
    min: 0,
    max: 65535,
    doc: "The operator's port; 0 for any free one.",
  }),
});
export type PlatformConfig = ConfigOf<typeof platformConfig>;

/** How much a caller may use up. Read from LUCKY_LIMITS_<KEY>. */
export const limitsConfig = defineConfig("limits", {
  readPerSecond: setting.integer({
    default: 200,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    doc: "Reads of one user, or of one address without a login.",
  }),
  writePerSecond: setting.integer({
    default: 60,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    doc: "Changes other than messages, of one user; renewals of tokens, of one address.",
  }),
  sendPerSecond: setting.integer({
    default: 200,
    min: 1,
    max: 1_000_000,
    unit: "calls a second",
    doc: "Sends of one user by RPC. Sockets have their own bound.",
  }),
  credentialPerMinute: setting.integer({
    default: 30,
    min: 1,
    max: 1_000_000,
    unit: "calls a minute",
    doc: "Register, log in, codes and QR logins, of one address.",
  }),
  searchPerMinute: setting.integer({
    default: 30,
    min: 1,
    max: 1_000_000,
    unit: "calls a minute",
    doc: "Searches for users, of one user.",
  }),
});
export type LimitsConfig = ConfigOf<typeof limitsConfig>;
