import type { MessageInitShape } from "@bufbuild/protobuf";
import { Feature, type HelloSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import { CONTENT_KINDS } from "../display.ts";

/** Revision of the protocol that this client was written for. */
const PROTOCOL_REVISION = 1;
/** Name and version of this library, for programs that do not name themselves. */
const LIBRARY = { name: "lucky-js", version: "0.1.0" };
const FEATURES = [Feature.TYPING, Feature.RECEIPTS, Feature.SECURITY_NOTICES];

/** The program that opens a session, as it describes itself to the server. */
export interface Program {
  readonly clientName?: string | undefined;
  readonly clientVersion?: string | undefined;
  readonly contentKinds?: readonly number[] | undefined;
  readonly features?: readonly Feature[] | undefined;
}

/** The first frame of a session. */
export function helloOf(
  accessToken: string,
  program: Program,
): MessageInitShape<typeof HelloSchema> {
  return {
    accessToken,
    clientName: program.clientName ?? LIBRARY.name,
    clientVersion: program.clientVersion ?? LIBRARY.version,
    protocolRevision: PROTOCOL_REVISION,
    contentKinds: [...(program.contentKinds ?? CONTENT_KINDS)],
    features: [...(program.features ?? FEATURES)],
  };
}
