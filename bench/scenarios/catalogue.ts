import type { Scenario } from "../runs/scenario.ts";

/** Scenarios by name, in the order of the help. Each is loaded on first use: some need packages that others do not. */
export const scenarios: Readonly<Record<string, () => Promise<{ default: Scenario }>>> = {
  messages: () => import("./messages.ts"),
  fanout: () => import("./fanout.ts"),
  connections: () => import("./connections.ts"),
  rpc: () => import("./rpc.ts"),
  sync: () => import("./sync.ts"),
  changes: () => import("./changes.ts"),
  growth: () => import("./growth.ts"),
  cost: () => import("./cost.ts"),
  revoke: () => import("./revoke.ts"),
  abuse: () => import("./abuse.ts"),
  limits: () => import("./limits.ts"),
  compare: () => import("./compare.ts"),
  table: () => import("./table.ts"),
  ratio: () => import("./ratio.ts"),
};
