import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditAction } from "#gen/lucky/admin/v1/admin_pb.js";
import { DeviceClass, DeviceExcess, DeviceRuleSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import { invalidField } from "#platform/errors.ts";
import type { DevicePolicy, DeviceRules } from "../logins/device-policy.ts";
import type { AuditedChanges } from "./audited-changes.ts";

/** Reads and replaces the device policy: how many devices of each class a user may have online. */
export function createDevicePolicyMethods({
  changes,
  devicePolicy,
}: {
  changes: AuditedChanges;
  devicePolicy: DevicePolicy;
}): Pick<ServiceImpl<typeof AdminService>, "getDevicePolicy" | "setDevicePolicy"> {
  return {
    async getDevicePolicy() {
      const rules = await devicePolicy.rules();
      return {
        rules: rules.map(({ deviceClass, maxDevices, excess }) =>
          create(DeviceRuleSchema, { deviceClass, maxDevices, excess }),
        ),
      };
    },
    async setDevicePolicy({ rules, reason }, context) {
      if (new Set(rules.map(({ deviceClass }) => deviceClass)).size < rules.length)
        throw invalidField("rules", "each device class at most once");
      const act = { context, action: AuditAction.DEVICE_POLICY_SET, reason };
      await changes.changeSystem(act, async (tx) => {
        await devicePolicy.set(tx, rules);
        return { detail: textOf(rules) };
      });
      return {};
    },
  };
}

/** The rules in the format of LUCKY_AUTH_DEVICE_POLICY: "mobile:1:replace,web:3:refuse". */
const textOf = (rules: DeviceRules): string =>
  rules
    .map(({ deviceClass, maxDevices, excess }) => {
      const over = excess === DeviceExcess.REFUSE_NEW ? "refuse" : "replace";
      return `${DeviceClass[deviceClass]!.toLowerCase()}:${maxDevices}:${over}`;
    })
    .join(",");
