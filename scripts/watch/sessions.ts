import { type Dashboard, durations, perSecond, sum } from "./panels.ts";

/** Sessions of devices, their clients, and logins. */
export const sessions: Dashboard = {
  name: "lucky-sessions",
  title: "Lucky: sessions",
  rows: {
    Sessions: [
      {
        title: "Open sessions",
        description: "Sockets of devices, by instance of connect.",
        unit: "short",
        curves: { "{{instance}}": sum("lucky_sessions", ["instance"]) },
      },
      {
        title: "Ended sessions",
        description: "By close code; docs/protocol.md lists the codes.",
        unit: "ops",
        curves: { "{{code}}": perSecond("lucky_session_end_total", ["code"]) },
      },
      {
        title: "Frames from devices",
        description: "By kind.",
        unit: "ops",
        curves: { "{{kind}}": perSecond("lucky_frames_in_total", ["kind"]) },
      },
    ],
    Clients: [
      {
        title: "Revisions",
        description: "Open sessions by the revision of the protocol that their client knows.",
        unit: "short",
        curves: { "{{revision}}": sum("lucky_sessions_by_revision", ["revision"]) },
      },
      {
        title: "Tunnels",
        description: "WebSockets through the gateway, and upgrade requests by outcome.",
        unit: "short",
        curves: {
          open: sum("lucky_gateway_tunnels"),
          "{{outcome}} a second": perSecond("lucky_gateway_tunnels_opened_total", ["outcome"]),
        },
      },
      {
        title: "Connections",
        description:
          "TCP connections of clients, and the maximum. Alert: LuckyConnectionsNearMaximum.",
        unit: "short",
        curves: {
          "{{instance}}": sum("lucky_connections", ["instance"]),
          "maximum {{instance}}": sum("lucky_connections_max", ["instance"]),
        },
      },
    ],
    "Logging in": [
      {
        title: "Password hashes",
        description: "Time for one, with the wait for a processor.",
        unit: "s",
        curves: durations("lucky_auth_password_hash_seconds"),
      },
      {
        title: "SMS codes",
        description: "By outcome.",
        unit: "ops",
        curves: { "{{outcome}}": perSecond("lucky_auth_sms_total", ["outcome"]) },
      },
      {
        title: "QR logins",
        description: "Open streams of devices that wait for a confirmation.",
        unit: "short",
        curves: { waiting: sum("lucky_auth_qr_watches") },
      },
    ],
  },
};
