import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { nestedTypes } from "@bufbuild/protobuf/reflect";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";

/** The files of some services with all their imports, for look-ups by name. */
export interface Schema {
  /** Full names of the services, in order. */
  readonly services: readonly string[];
  file(name: string): DescFile | undefined;
  /** The file that declares a service, method, message, field, enum or extension. */
  fileOf(symbol: string): DescFile | undefined;
  /** The extensions of a message by number, each with its file. */
  extensionsOf(typeName: string): ReadonlyMap<number, DescFile>;
  /** The file as an encoded FileDescriptorProto, without comments. */
  encoded(file: DescFile): Uint8Array;
}

const NONE: ReadonlyMap<number, DescFile> = new Map();

/** Collects what the services declare and import. All other files stay unknown. */
export function schemaOf(services: readonly DescService[]): Schema {
  const files = new Map<string, DescFile>();
  const symbols = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescFile>>();
  const bytes = new Map<DescFile, Uint8Array>();

  function add(file: DescFile): void {
    const { name } = file.proto;
    if (files.has(name)) return;
    files.set(name, file);
    bytes.set(file, toBinary(FileDescriptorProtoSchema, file.proto));
    for (const type of nestedTypes(file)) {
      symbols.set(type.typeName, file);
      if (type.kind === "service") {
        for (const method of type.methods) symbols.set(`${type.typeName}.${method.name}`, file);
      } else if (type.kind === "message") {
        for (const field of type.fields) symbols.set(`${type.typeName}.${field.name}`, file);
      } else if (type.kind === "extension") {
        const extended = type.extendee.typeName;
        const known = extensions.get(extended) ?? new Map<number, DescFile>();
        extensions.set(extended, known.set(type.number, file));
      }
    }
    for (const dependency of file.dependencies) add(dependency);
  }
  for (const { file } of services) add(file);

  return {
    services: services.map(({ typeName }) => typeName).sort(),
    file: (name) => files.get(name),
    fileOf: (symbol) => symbols.get(symbol),
    extensionsOf: (typeName) => extensions.get(typeName) ?? NONE,
    encoded: (file) => bytes.get(file)!,
  };
}
