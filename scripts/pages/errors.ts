import type { DescMethod, FileRegistry } from "@bufbuild/protobuf";
import { codeFromString, codeToHttpStatus } from "@connectrpc/connect/protocol-connect";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { rulesOf } from "#platform/rpc/rules.ts";
import { commentOf } from "./contract.ts";

/** A reason of failed calls, as its comment in the contract describes it. */
export interface Reason {
  /** Without the prefix of the enum, such as "KEY_REUSED". */
  readonly name: string;
  readonly number: number;
  /** Code of Connect and gRPC, such as "already_exists". */
  readonly code: string;
  readonly httpStatus: number;
  readonly text: string;
}

const ENUM = "lucky.error.v1.ErrorReason";
const PREFIX = "ERROR_REASON_";

/** Reasons that any method can give. */
const ALWAYS = ["INTERNAL", "RATE_LIMITED", "OVERLOADED", "UNAVAILABLE"];
const WITH_FIELDS = ["INVALID_ARGUMENT"];
const WITH_TOKEN = ["TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED"];
const WITH_ROLE = ["PERMISSION_DENIED"];

/** Reads all reasons. Throws when a comment does not begin with a code. */
export function readReasons(registry: FileRegistry): readonly Reason[] {
  const desc = registry.getEnum(ENUM);
  if (desc === undefined) throw new Error(`the contract has no ${ENUM}`);
  return desc.values
    .filter(({ number }) => number !== 0)
    .map((value) => {
      const [, name = "", text = ""] = /^([a-z_]+): (.*)$/s.exec(commentOf(value)) ?? [];
      const code = codeFromString(name);
      if (code === undefined) throw new Error(`the comment of ${value.name} begins with no code`);
      return {
        name: value.name.slice(PREFIX.length),
        number: value.number,
        code: name,
        httpStatus: codeToHttpStatus(code),
        text,
      };
    });
}

/** The reasons that a method can give: those of its access, and those that its comment names. */
export function reasonsOf(method: DescMethod, reasons: readonly Reason[]): readonly Reason[] {
  const { access } = rulesOf(method);
  const named = new Set(commentOf(method).match(/\b[A-Z]+(?:_[A-Z]+)*\b/g) ?? []);
  for (const name of ALWAYS) named.add(name);
  if (method.input.fields.length > 0) for (const name of WITH_FIELDS) named.add(name);
  if (access !== Access.PUBLIC) for (const name of WITH_TOKEN) named.add(name);
  if (access !== Access.PUBLIC && access !== Access.USER) {
    for (const name of WITH_ROLE) named.add(name);
  }
  return reasons.filter(({ name }) => named.has(name));
}

/** The page about all reasons, in Markdown. */
export function errorsPage({ registry }: { readonly registry: FileRegistry }): string {
  const rows = readReasons(registry).map(
    ({ name, number, code, httpStatus, text }) =>
      `| \`${name}\` | ${number} | ${code} | ${httpStatus} | ${text} |`,
  );
  return [
    "# Errors",
    "",
    commentOf(registry.getMessage("lucky.error.v1.ErrorDetail")!),
    "",
    commentOf(registry.getEnum(ENUM)!),
    "",
    "[Errors](protocol.md#errors) in the protocol says how a client acts on them.",
    "",
    "| Reason | Number | Code | HTTP status (Connect) | Meaning |",
    "|---|--:|---|--:|---|",
    ...rows,
    "",
  ].join("\n");
}
