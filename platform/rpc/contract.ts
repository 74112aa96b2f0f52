import { type DescService, getOption } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { file_lucky_admin_v1_admin } from "#gen/lucky/admin/v1/admin_pb.js";
import { file_lucky_auth_v1_auth } from "#gen/lucky/auth/v1/auth_pb.js";
import { file_lucky_auth_v1_device } from "#gen/lucky/auth/v1/device_pb.js";
import { file_lucky_frame_v1_frame } from "#gen/lucky/frame/v1/frame_pb.js";
import { file_lucky_group_v1_group } from "#gen/lucky/group/v1/group_pb.js";
import { file_lucky_internal_ingress_v1_ingress } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { file_lucky_internal_operations_v1_process } from "#gen/lucky/internal/operations/v1/process_pb.js";
import { file_lucky_internal_session_v1_session } from "#gen/lucky/internal/session/v1/session_pb.js";
import { file_lucky_message_v1_change } from "#gen/lucky/message/v1/change_pb.js";
import { file_lucky_message_v1_conversation } from "#gen/lucky/message/v1/conversation_pb.js";
import { file_lucky_message_v1_history } from "#gen/lucky/message/v1/history_pb.js";
import { file_lucky_message_v1_message } from "#gen/lucky/message/v1/message_pb.js";
import { file_lucky_operations_v1_operations } from "#gen/lucky/operations/v1/operations_pb.js";
import { ServiceProcess, served_by } from "#gen/lucky/options/v1/options_pb.js";
import { file_lucky_presence_v1_presence } from "#gen/lucky/presence/v1/presence_pb.js";
import { file_lucky_user_v1_user } from "#gen/lucky/user/v1/user_pb.js";
import { type ServiceName, serviceName } from "#platform/service-name.ts";
import { isInternal } from "./rules.ts";

/**
 * Every service of the contract, ordered by full name. This is the only list of services: a test
 * compares it with the generated files.
 */
export const SERVICES: readonly DescService[] = [
  file_lucky_admin_v1_admin,
  file_lucky_auth_v1_auth,
  file_lucky_auth_v1_device,
  file_lucky_frame_v1_frame,
  file_lucky_group_v1_group,
  file_lucky_internal_ingress_v1_ingress,
  file_lucky_internal_operations_v1_process,
  file_lucky_internal_session_v1_session,
  file_lucky_message_v1_change,
  file_lucky_message_v1_conversation,
  file_lucky_message_v1_history,
  file_lucky_message_v1_message,
  file_lucky_operations_v1_operations,
  file_lucky_presence_v1_presence,
  file_lucky_user_v1_user,
].flatMap(({ services }) => services);

/** A service, and the transport that reaches the process that serves it. */
export interface ReachableService {
  readonly service: DescService;
  readonly transport: Transport;
}

/**
 * The public services that other processes serve, each with the transport to its process. Keys of
 * `transports` are names of processes: "auth", "server". A service whose process has no transport is
 * left out. Throws when a service declares no process.
 */
export function publicServices(
  transports: Readonly<Record<string, Transport>>,
): ReachableService[] {
  return SERVICES.filter((service) => !isInternal(service)).flatMap((service) => {
    const transport = transports[servedBy(service)];
    return transport === undefined ? [] : [{ service, transport }];
  });
}

/**
 * Name of the process that serves a service, such as "auth", or "every process": the option
 * `served_by`. Throws when the service does not declare it.
 */
export function servedBy(service: DescService): ServiceName | "every process" {
  const process = getOption(service, served_by);
  if (process === ServiceProcess.EVERY) return "every process";
  const name = serviceName(process);
  if (name === undefined) throw new Error(`${service.typeName} does not declare served_by`);
  return name;
}
