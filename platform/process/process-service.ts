import { create } from "@bufbuild/protobuf";
import {
  DescribeDeliveriesResponseSchema,
  DescribeSettingsResponseSchema,
  ProcessService,
} from "#gen/lucky/internal/operations/v1/process_pb.js";
import {
  type InstanceDeliveries,
  type ProcessSettings,
  ProcessSettingsSchema,
  SettingSource,
} from "#gen/lucky/operations/v1/operations_pb.js";
import type { Source } from "#platform/config/resolve.ts";
import type { Settings } from "#platform/config/running-settings.ts";
import { excerpt } from "#platform/excerpt.ts";
import { type Served, serve } from "#platform/rpc/served.ts";

/** Maximum faults in an answer, and their maximum length in bytes. */
const MAX_FAULTS = 100;
const MAX_FAULT_BYTES = 512;

const SOURCES: Readonly<Record<Source, SettingSource>> = {
  default: SettingSource.DEFAULT,
  environment: SettingSource.ENVIRONMENT,
  file: SettingSource.FILE,
  "secret-file": SettingSource.SECRET_FILE,
};

/** An entry, and the users whose own channels hear its conversation. */
export interface AskedEntry {
  readonly conversationId: string;
  readonly sequence: number;
  readonly userIds: readonly string[];
}

/** Describes the deliveries of an entry to the sessions of this process. */
export type DescribeDeliveries = (entry: AskedEntry) => InstanceDeliveries;

export interface ProcessServiceOptions {
  /** Name of the service; "all" for a process that runs all of them. */
  readonly service: string;
  readonly instanceId: string;
  readonly settings: Settings;
  /** Undefined for a process without sessions, and before it has started them. */
  readonly deliveries: () => DescribeDeliveries | undefined;
}

/** Implements ProcessService, which server calls on behalf of operators. */
export function processService(options: ProcessServiceOptions): Served {
  return serve(ProcessService, {
    describeSettings: () =>
      create(DescribeSettingsResponseSchema, { process: settingsOf(options) }),
    describeDeliveries: ({ conversationId, sequence, userIds }) => {
      const describe = options.deliveries();
      const entry = { conversationId, sequence: Number(sequence), userIds };
      return create(DescribeDeliveriesResponseSchema, { deliveries: describe?.(entry) });
    },
  });
}

function settingsOf({ service, instanceId, settings }: ProcessServiceOptions): ProcessSettings {
  const { path, readAtMs, refusedAtMs, faults } = settings.file;
  return create(ProcessSettingsSchema, {
    service,
    instanceId,
    settings: settings
      .describe()
      .map(({ source, ...setting }) => ({ ...setting, source: SOURCES[source] })),
    file:
      path === ""
        ? undefined
        : {
            path,
            readAtMs: BigInt(Math.round(readAtMs)),
            refusedAtMs: BigInt(Math.round(refusedAtMs)),
            faults: faults.slice(0, MAX_FAULTS).map((fault) => excerpt(fault, MAX_FAULT_BYTES)),
          },
  });
}
