import { clone, create, createFileRegistry, type DescFile, fromBinary } from "@bufbuild/protobuf";
import {
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { type Content, ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { type Entry, EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";

/** The kinds of content that the older client knows: their field numbers. */
export const KNOWN_KINDS: readonly number[] = [1, 2, 3, 4, 5];
/** Numbers of Content up to here are kinds. */
const LAST_KIND = 99;

/** Entry in the contract of the older client: the current one without the other kinds of content. */
const OldEntrySchema = createFileRegistry(
  create(FileDescriptorSetSchema, { file: [...oldFiles(EntrySchema.file).values()] }),
).getMessage(EntrySchema.typeName)!;

/** The file and all that it imports, first the imports. */
function oldFiles(file: DescFile, found = new Map<string, FileDescriptorProto>()) {
  for (const imported of file.dependencies) oldFiles(imported, found);
  const proto = clone(FileDescriptorProtoSchema, file.proto);
  for (const message of proto.messageType) {
    if (`${proto.package}.${message.name}` !== ContentSchema.typeName) continue;
    message.field = message.field.filter(
      ({ number = 0 }) => KNOWN_KINDS.includes(number) || number > LAST_KIND,
    );
  }
  return found.set(proto.name ?? "", proto);
}

/** An entry as a client shows it, by the rules of docs/protocol.md. */
export interface Line {
  /** undefined: the client skips the entry. */
  readonly text: string | undefined;
  readonly counted: boolean;
}

/** The line of an encoded entry in a client that only knows these kinds. */
export function lineOf(encoded: Uint8Array): Line {
  const entry = fromBinary(OldEntrySchema, encoded) as unknown as Entry;
  return { text: textOf(entry), counted: !entry.notCounted };
}

function textOf({ content, notShown }: Entry): string | undefined {
  const { kind, fallbackText = "" }: Partial<Content> = content ?? {};
  if (kind?.case === "text") return kind.value.text;
  if (kind?.case !== undefined) return `[${kind.case}]`;
  if (notShown) return undefined;
  return fallbackText || "[update the app to see this message]";
}
