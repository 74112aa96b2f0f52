import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type GetSettingsRequest,
  type GetSettingsResponse,
  GetSettingsResponseSchema,
  type ProcessSettings,
  ProcessSettingsSchema,
} from "#gen/lucky/operations/v1/operations_pb.js";
import type { AskedProcess, Processes } from "#platform/process/processes.ts";
import { SERVICE_NAMES } from "#platform/service-name.ts";

/** Time-out of the answer of a process, ms. */
const ANSWER_MS = 2_000;

/** Asks the processes that a request names for their settings, all at once. */
export async function listSettings(
  processes: Processes,
  { service, instanceId }: GetSettingsRequest,
  signal: AbortSignal,
): Promise<GetSettingsResponse> {
  const services = SERVICE_NAMES.filter((name) => service === "" || name === service);
  const lists = await Promise.all(services.map((name) => processes.of(name)));
  // A process that runs all services is in each list.
  const asked = new Map(lists.flat().map((process) => [process.instanceId, process]));
  const wanted = [...asked.values()].filter(
    (process) => instanceId === "" || process.instanceId === instanceId,
  );
  return create(GetSettingsResponseSchema, {
    processes: await Promise.all(wanted.map((process) => settingsOf(process, signal))),
  });
}

/** The answer of a process, or the reason why there is none. */
async function settingsOf(
  { service, instanceId, client }: AskedProcess,
  signal: AbortSignal,
): Promise<ProcessSettings> {
  const failed = (failure: string) =>
    create(ProcessSettingsSchema, { service, instanceId, failure });
  if (client === undefined) return failed("it announces no operator's port: an older version");
  try {
    const { process } = await client.describeSettings({}, { signal, timeoutMs: ANSWER_MS });
    if (process?.instanceId === instanceId) return process;
    return failed("another process answers at its operator's port: set LUCKY_OPS_HOST");
  } catch (error) {
    const { code, message } = ConnectError.from(error);
    const hint = code === Code.Unavailable ? ": server reaches it by LUCKY_OPS_HOST" : "";
    return failed(`${message}${hint}`);
  }
}
