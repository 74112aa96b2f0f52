import { execFileSync } from "node:child_process";
import { join } from "node:path";
import {
  createFileRegistry,
  type DescService,
  type FileRegistry,
  fromBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { getComments } from "@bufbuild/protoplugin";
import { SERVICES } from "#platform/rpc/contract.ts";
import { isInternal } from "#platform/rpc/rules.ts";

/** The contract with its comments, which the generated code does not have. */
export interface CommentedContract {
  /** The services that clients may call, in the order of their names. */
  readonly services: readonly DescService[];
  readonly registry: FileRegistry;
}

/** Reads proto/ by buf. */
export function readContract(root: string): CommentedContract {
  const bytes = execFileSync(join(root, "node_modules/.bin/buf"), ["build", "proto", "-o", "-"], {
    cwd: root,
  });
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes));
  const services = SERVICES.filter((service) => !isInternal(service)).map(({ typeName }) => {
    const found = registry.getService(typeName);
    if (found === undefined) throw new Error(`proto/ does not declare ${typeName}`);
    return found;
  });
  return { services, registry };
}

/** The comment of a declaration as one paragraph; paragraphs of their own stay apart. */
export function commentOf(declaration: Parameters<typeof getComments>[0]): string {
  const { leading = "" } = getComments(declaration);
  const paragraphs = leading.trim().split(/\n\s*\n/);
  return paragraphs.map((lines) => lines.replace(/\s+/g, " ").trim()).join("\n\n");
}

/** The first sentence of a comment, without its full stop. */
export function firstSentence(comment: string): string {
  return comment.split(/\.(?:\s|$)/, 1)[0]!;
}
