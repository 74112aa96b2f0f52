import { getOption } from "@bufbuild/protobuf";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { server_only } from "#gen/lucky/options/v1/options_pb.js";

/** Largest encoded content that a device may send, bytes. */
export const MAX_CONTENT_BYTES = 65_536;

const [kind] = ContentSchema.oneofs;

/** Kinds of content that a device may send: their field numbers in Content, ascending. */
export const DEVICE_KINDS: readonly number[] = kind!.fields
  .filter((field) => !getOption(field, server_only))
  .map(({ number }) => number);
