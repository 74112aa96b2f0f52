import { ServiceProcess } from "#gen/lucky/options/v1/options_pb.js";

/** Name of a service process: a value of the contract's `ServiceProcess`, in lower case. */
export type ServiceName = (typeof SERVICE_NAMES)[number];
export const SERVICE_NAMES = ["auth", "connect", "gateway", "server"] as const;

/** Name of a process of the contract; undefined when the contract does not declare the process. */
export function serviceName(process: ServiceProcess): ServiceName | undefined {
  return SERVICE_NAMES.find((name) => name.toUpperCase() === ServiceProcess[process]);
}
