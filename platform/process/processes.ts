import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { ProcessService } from "#gen/lucky/internal/operations/v1/process_pb.js";
import { operationsSecrets, type SecretKey } from "#platform/config/secrets.ts";
import type { PlatformConfig } from "#platform/config/settings.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { SERVICE_NAMES, type ServiceName } from "#platform/service-name.ts";

/** Maximum bytes of an answer. */
const MAX_ANSWER_BYTES = 1_048_576;

/** A process of the installation, with a client for the calls of operators. */
export interface AskedProcess {
  /** Name of its service; "all" for a process that runs all of them. */
  readonly service: string;
  readonly instanceId: string;
  /** Calls over its operator's port; undefined for an older version, which announces no such port. */
  readonly client: Client<typeof ProcessService> | undefined;
}

/** Finds the live processes of the installation. */
export interface Processes {
  /** The processes of a service, ordered by id; those that run all services belong to each of them. */
  of(service: ServiceName): Promise<readonly AskedProcess[]>;
}

/** The processes of the mesh, from the registry. */
export function meshProcesses(options: {
  readonly registry: Pick<Registry, "instances">;
  readonly platform: Pick<PlatformConfig, SecretKey>;
}): Processes {
  const { registry, platform } = options;
  const secrets = new Map(
    SERVICE_NAMES.map((service) => [service, operationsSecrets(service, platform)[0] ?? ""]),
  );
  const clientOf = (service: ServiceName, baseUrl: string) =>
    createClient(
      ProcessService,
      createConnectTransport({
        baseUrl,
        httpVersion: "1.1",
        readMaxBytes: MAX_ANSWER_BYTES,
        interceptors: [
          (next) => (request) => {
            request.header.set(MESH_HEADER, secrets.get(service)!);
            return next(request);
          },
        ],
      }),
    );
  return {
    async of(service) {
      const instances = await registry.instances(service);
      return instances
        .map(({ instanceId, opsAddress }) => ({
          service,
          instanceId,
          client: opsAddress === undefined ? undefined : clientOf(service, opsAddress),
        }))
        .sort((one, other) => one.instanceId.localeCompare(other.instanceId));
    },
  };
}
