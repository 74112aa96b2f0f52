import type { DeviceClass } from "../../gen/lucky/auth/v1/auth_pb.js";

/** The installation that a client represents. */
export interface DeviceOptions {
  /** Generated once and stored; 1 to 64 characters of A-Z a-z 0-9 . _ - */
  readonly deviceId: string;
  readonly deviceClass: DeviceClass;
  /** Shown to the user in the list of devices. */
  readonly deviceName?: string;
  /** Version of the program: numbers with dots, such as "2.14.0", at most 32 characters. */
  readonly clientVersion?: string;
}
