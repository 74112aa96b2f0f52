import type { MessageInitShape } from "@bufbuild/protobuf";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { Feature, type HelloSchema } from "../../gen/lucky/frame/v1/frame_pb.js";
import { CONTENT_KINDS } from "../display.ts";
import { LuckyError } from "../error.ts";

/** Revision of the protocol that this client was written for. */
const PROTOCOL_REVISION = 1;
/** Name and version of this library, for programs that do not name themselves. */
const LIBRARY = { name: "lucky-js", version: "0.1.0" };
const FEATURES = [Feature.TYPING, Feature.RECEIPTS, Feature.SECURITY_NOTICES];

/** Constraints of Hello: the server closes a session that breaks them, again and again. */
const NAME = /^[A-Za-z0-9._-]{0,64}$/;
const VERSION = /^(?=.{0,64}$)([0-9]+(\.[0-9]+)*([-+][A-Za-z0-9.+-]*)?)?$/;
const MAX_ITEMS = 64;

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

/** Throws INVALID_ARGUMENT when the server would not accept the Hello of the program. */
export function checkProgram(program: Program): void {
  const { clientName = "", clientVersion = "", contentKinds = [], features = [] } = program;
  const check = (ok: boolean, field: string, text: string) => {
    if (!ok) throw new LuckyError(ErrorReason.INVALID_ARGUMENT, `${field}: ${text}`, { field });
  };
  check(NAME.test(clientName), "client_name", "at most 64 characters of A-Z a-z 0-9 . _ -");
  check(VERSION.test(clientVersion), "client_version", "numbers with dots, such as 2.14.0");
  check(contentKinds.length <= MAX_ITEMS, "content_kinds", `at most ${MAX_ITEMS}`);
  check(features.length <= MAX_ITEMS, "features", `at most ${MAX_ITEMS}`);
}
