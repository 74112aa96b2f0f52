import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { requirePrintable } from "#platform/validation/printable.ts";

/** Throws INVALID_ARGUMENT when the device is missing or its texts contain control characters. */
export function requirePrintableDevice(device: Device | undefined): asserts device is Device {
  if (!device) throw fail(ErrorReason.INVALID_ARGUMENT, "device: value is required");
  requirePrintable("device.device_name", device.deviceName);
  requirePrintable("device.client_version", device.clientVersion);
}
