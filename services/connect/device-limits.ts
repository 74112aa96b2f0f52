import { DeviceClass } from "../../gen/lucky/auth/v1/auth_pb.js";

/**
 * Reads "mobile:1,desktop:1,web:3,bot:10": how many devices of each class a user may have online.
 * Throws an Error that names what is wrong. A class that is not named may have none.
 */
export function parseDeviceLimits(text: string): ReadonlyMap<DeviceClass, number> {
  const limits = new Map<DeviceClass, number>();
  for (const part of text.split(",")) {
    const match = /^\s*([a-z]+)\s*:\s*(\d{1,6})\s*$/.exec(part);
    const deviceClass = match && DeviceClass[match[1]!.toUpperCase() as keyof typeof DeviceClass];
    if (!match || !deviceClass) {
      throw new Error(`connect.deviceLimits: "${part}" is not <class>:<number>`);
    }
    limits.set(deviceClass, Number(match[2]));
  }
  return limits;
}
