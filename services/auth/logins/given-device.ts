import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import { invalidField } from "#platform/errors.ts";

/** The device of a request, which the contract requires. Throws INVALID_ARGUMENT when it is missing. */
export function givenDevice(device: Device | undefined): Device {
  if (device) return device;
  throw invalidField("device", "value is required");
}
