import { Code, ConnectError } from "@connectrpc/connect";

const PERMANENT_ERRORS = new Set([
  Code.InvalidArgument,
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.Unimplemented,
]);

/** Whether a retry of the same batch cannot resolve the error of a call to server. */
export function isPermanent(error: unknown): boolean {
  return error instanceof ConnectError && PERMANENT_ERRORS.has(error.code);
}
