import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** Files that clients do not need: constraints and options for the server, and its own messages. */
const SERVER_FILES =
  /^(buf|lucky\/options|lucky\/internal)\/|^google\/protobuf\/descriptor\.proto$/;

/**
 * Writes the contract for clients as a FileDescriptorSet with comments: proto/ without the files of
 * the server and without all custom options. Code that is generated from it registers neither
 * buf.validate nor a standard service of gRPC, which a program may have from their own packages.
 */
export function writeClientContract(root: string, path: string): void {
  const built = execFileSync("buf", ["build", "proto", "--as-file-descriptor-set", "-o", "-"], {
    cwd: root,
    maxBuffer: 64 * 1024 * 1024,
  });
  const set = fromBinary(FileDescriptorSetSchema, built);
  set.file = set.file.filter(({ name }) => !SERVER_FILES.test(name)).map(forClients);
  writeFileSync(path, toBinary(FileDescriptorSetSchema, set));
}

function forClients(file: FileDescriptorProto): FileDescriptorProto {
  removeUnknownOptions(file);
  file.dependency = file.dependency.filter((name) => !SERVER_FILES.test(name));
  const locations = file.sourceCodeInfo?.location ?? [];
  if (file.sourceCodeInfo) {
    // Comments without their positions: the output changes with the contract, not with its layout.
    file.sourceCodeInfo.location = locations
      .filter(({ leadingComments, trailingComments }) => leadingComments || trailingComments)
      .map((location) => ({ ...location, span: [0, 0, 0] }));
  }
  return file;
}

/** Custom options are unknown fields here, because their extensions are not registered. */
function removeUnknownOptions(value: unknown): void {
  if (Array.isArray(value)) for (const item of value) removeUnknownOptions(item);
  else if (value !== null && typeof value === "object" && !(value instanceof Uint8Array)) {
    if ("$typeName" in value && String(value.$typeName).endsWith("Options"))
      delete (value as Message).$unknown;
    for (const item of Object.values(value)) removeUnknownOptions(item);
  }
}
