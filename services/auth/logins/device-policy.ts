import { DeviceClass, DeviceExcess, type DeviceRule } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { AuthConfig } from "../config.ts";
import type { Database, Transaction } from "../database.ts";

/** How many devices of each class a user may have online, and what one more does. */
export type DeviceRules = readonly Pick<DeviceRule, "deviceClass" | "maxDevices" | "excess">[];

/** The policy in force: what an administrator set, else what is configured. */
export interface DevicePolicy {
  rules(): Promise<DeviceRules>;
  /** Replaces the policy. Throws INVALID_ARGUMENT when a class comes twice. */
  set(tx: Transaction, rules: DeviceRules): Promise<void>;
}

/** Throws an Error that names what is wrong with the configured policy. */
export function createDevicePolicy({
  config,
  database,
}: {
  config: AuthConfig;
  database: Database;
}): DevicePolicy {
  const configured = parseDevicePolicy(config.devicePolicy);
  return {
    async rules() {
      const rows = await database.deviceRule.findMany({ orderBy: { deviceClass: "asc" } });
      return rows.length > 0 ? rows : configured;
    },
    async set(tx, rules) {
      if (new Set(rules.map(({ deviceClass }) => deviceClass)).size < rules.length)
        throw fail(ErrorReason.INVALID_ARGUMENT, "rules: each class at most once");
      // Whoever sets it at the same time waits; reading goes on.
      await tx.$executeRaw`LOCK TABLE auth.device_rule IN SHARE ROW EXCLUSIVE MODE`;
      await tx.deviceRule.deleteMany();
      await tx.deviceRule.createMany({
        data: rules.map(({ deviceClass, maxDevices, excess }) => ({
          deviceClass,
          maxDevices,
          excess,
        })),
      });
    },
  };
}

const classes: Readonly<Record<string, DeviceClass>> = {
  mobile: DeviceClass.MOBILE,
  desktop: DeviceClass.DESKTOP,
  web: DeviceClass.WEB,
  bot: DeviceClass.BOT,
};
const excesses: Readonly<Record<string, DeviceExcess>> = {
  replace: DeviceExcess.REPLACE_OLDEST,
  refuse: DeviceExcess.REFUSE_NEW,
};
const MOST = 1_000;

/**
 * Reads "mobile:1:replace,web:3:refuse": class, how many, and what one more does. A class that is
 * not named may have none online. Throws an Error that names every part that is wrong.
 */
export function parseDevicePolicy(text: string): DeviceRules {
  const faults: string[] = [];
  const rules: DeviceRules[number][] = [];
  for (const part of text.split(",")) {
    const rule = parseRule(part);
    if (typeof rule === "string") faults.push(`"${part}" ${rule}`);
    else if (rules.some(({ deviceClass }) => deviceClass === rule.deviceClass))
      faults.push(`"${part}" names a class for the second time`);
    else rules.push(rule);
  }
  if (faults.length > 0) throw new Error(`LUCKY_AUTH_DEVICE_POLICY: ${faults.join("; ")}`);
  return rules;
}

/** One rule, or what is wrong with it. */
function parseRule(part: string): DeviceRules[number] | string {
  const words = part.split(":").map((word) => word.trim());
  const [name = "", count = "", what = ""] = words;
  if (words.length !== 3) return "is not <class>:<number>:<replace or refuse>";
  const deviceClass = classes[name];
  if (deviceClass === undefined) return "names no class of devices: mobile, desktop, web or bot";
  const maxDevices = /^\d{1,4}$/.test(count) ? Number(count) : Number.NaN;
  if (!(maxDevices <= MOST)) return `has a number that is not 0 to ${MOST}`;
  const excess = excesses[what];
  if (excess === undefined) return "says neither replace nor refuse";
  return { deviceClass, maxDevices, excess };
}
