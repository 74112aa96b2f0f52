import { DeviceClass, DeviceExcess, type DeviceRule } from "#gen/lucky/auth/v1/auth_pb.js";
import { invalidField } from "#platform/errors.ts";
import type { AuthConfig } from "../config.ts";
import type { Database, Transaction } from "../database.ts";

/**
 * Per device class: how many devices a user may have online, and the effect of an excess device.
 */
export type DeviceRules = readonly Pick<DeviceRule, "deviceClass" | "maxDevices" | "excess">[];

/** The policy in force: the one set by an administrator, else the configured one. */
export interface DevicePolicy {
  rules(): Promise<DeviceRules>;
  /** Replaces the policy. Throws INVALID_ARGUMENT for duplicate classes. */
  set(tx: Transaction, rules: DeviceRules): Promise<void>;
}

/** Throws an Error that lists the faults of the configured policy. */
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
        throw invalidField("rules", "each class at most once");
      // This lock serialises concurrent changes of the policy. It does not block readers.
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

const CLASS_BY_NAME: Readonly<Record<string, DeviceClass>> = {
  mobile: DeviceClass.MOBILE,
  desktop: DeviceClass.DESKTOP,
  web: DeviceClass.WEB,
  bot: DeviceClass.BOT,
};
const EXCESS_BY_NAME: Readonly<Record<string, DeviceExcess>> = {
  replace: DeviceExcess.REPLACE_OLDEST,
  refuse: DeviceExcess.REFUSE_NEW,
};
const MAX_DEVICES = 1_000;

/**
 * Parses "mobile:1:replace,web:3:refuse": class, number of devices, effect of an excess device. A
 * class without a rule may have no device online. Throws an Error that lists every invalid part.
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

/** Returns the rule, or a description of its fault. */
function parseRule(part: string): DeviceRules[number] | string {
  const words = part.split(":").map((word) => word.trim());
  const [name = "", count = "", effect = ""] = words;
  if (words.length !== 3) return "is not <class>:<number>:<replace or refuse>";
  const deviceClass = CLASS_BY_NAME[name];
  if (deviceClass === undefined) return "names no class of devices: mobile, desktop, web or bot";
  const maxDevices = /^\d{1,4}$/.test(count) ? Number(count) : Number.NaN;
  if (!(maxDevices <= MAX_DEVICES)) return `has a number that is not 0 to ${MAX_DEVICES}`;
  const excess = EXCESS_BY_NAME[effect];
  if (excess === undefined) return "says neither replace nor refuse";
  return { deviceClass, maxDevices, excess };
}
