import { type Dashboard, perSecond, sum } from "./panels.ts";

/** Use and saturation of processes, PostgreSQL, Redis, disk; settings and certificates. */
export const resources: Dashboard = {
  name: "lucky-resources",
  title: "Lucky: resources",
  rows: {
    Processes: [
      {
        title: "CPU",
        description: "Cores in use. A process of Lucky uses at most about one.",
        unit: "short",
        curves: {
          "{{instance}}": `rate(process_cpu_seconds_total{job="lucky"}[$__rate_interval])`,
        },
      },
      {
        title: "Memory",
        description: "Resident memory.",
        unit: "bytes",
        curves: { "{{instance}}": 'process_resident_memory_bytes{job="lucky"}' },
      },
      {
        title: "Delay of the event loop",
        description: "Slowest percent of the turns. Alert: LuckyEventLoopBusy.",
        unit: "s",
        curves: { "{{instance}}": 'nodejs_eventloop_lag_p99_seconds{job="lucky"}' },
      },
    ],
    "PostgreSQL and disk": [
      {
        title: "Connections",
        description: "Used connections, and the maximum of each process.",
        unit: "short",
        curves: {
          "used {{instance}}": sum('lucky_postgres_connections{state="used"}', ["instance"]),
          "maximum {{instance}}": sum("lucky_postgres_connections_max", ["instance"]),
        },
      },
      {
        title: "Queries that wait",
        description: "For a connection. Alert: LuckyDatabaseConnectionsUsedUp.",
        unit: "short",
        curves: { "{{instance}}": sum("lucky_postgres_waiting", ["instance"]) },
      },
      {
        title: "Running transaction",
        description:
          "Age of the lowest running transaction; Sync repeats all changes since its start. Alert: LuckyTransactionTooLong.",
        unit: "s",
        curves: {
          "database {{database}}": "max by (database) (lucky_log_running_transaction_seconds)",
        },
      },
      {
        title: "Free disk",
        description: "Of a single process with its own PostgreSQL. Alert: LuckyDiskAlmostFull.",
        unit: "bytes",
        curves: { "{{instance}}": "lucky_disk_free_bytes" },
      },
    ],
    "Redis, settings, certificates": [
      {
        title: "Registry",
        description:
          "1: its answers are complete. 0: deliveries go to all instances. Alert: LuckyRegistryIncomplete.",
        unit: "short",
        curves: { "{{instance}}": "lucky_registry_complete" },
      },
      {
        title: "Limiter without Redis",
        description: "Calls that were allowed, and attempts that each process limited alone.",
        unit: "ops",
        curves: {
          allowed: perSecond("lucky_limiter_unlimited_total"),
          "limited alone": perSecond("lucky_limiter_alone_total"),
        },
      },
      {
        title: "Lost leases in an hour",
        description: "Alert: LuckyLeaseLost.",
        unit: "short",
        curves: {
          "{{instance}}": sum("increase(lucky_registry_leases_lost_total[1h])", ["instance"]),
        },
      },
      {
        title: "Settings",
        description: "1: the file of settings is refused. Alert: LuckySettingsRefused.",
        unit: "short",
        curves: { "{{instance}}": "lucky_settings_refused" },
      },
      {
        title: "Life of the certificate",
        description:
          "Until the certificate of the gateway expires. Alert: LuckyCertificateExpires.",
        unit: "s",
        curves: { "{{instance}}": "lucky_tls_certificate_not_after_timestamp_seconds - time()" },
      },
    ],
  },
};
