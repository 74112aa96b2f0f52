import { create } from "@bufbuild/protobuf";
import {
  DescribeSettingsResponseSchema,
  ProcessService,
} from "#gen/lucky/internal/operations/v1/process_pb.js";
import {
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

export interface ProcessServiceOptions {
  /** Name of the service; "all" for a process that runs all of them. */
  readonly service: string;
  readonly instanceId: string;
  readonly settings: Settings;
}

/** Answers what server asks this process for operators. */
export function processService(options: ProcessServiceOptions): Served {
  return serve(ProcessService, {
    describeSettings: () =>
      create(DescribeSettingsResponseSchema, { process: settingsOf(options) }),
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
