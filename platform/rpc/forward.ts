import type { DescService } from "@bufbuild/protobuf";
import type { CallOptions, Client, HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { requestIdHeader } from "./observe.ts";

/** Headers that go on with a call: who calls, and its name in the logs. Nothing else does. */
const passedOn = ["authorization", requestIdHeader];

type Unary = (request: unknown, options: CallOptions) => Promise<unknown>;

/**
 * Implements a service by passing every unary call on to a client of the same service, with what is
 * left of the caller's deadline; when the caller goes away, the call is cancelled. Errors come back
 * as they are. Streaming methods are left out, that is, unimplemented.
 */
export function forward<S extends DescService>(service: S, client: Client<S>): ServiceImpl<S> {
  const methods = client as unknown as Record<string, Unary>;
  const implementation: Record<string, unknown> = {};
  for (const { localName, methodKind } of service.methods) {
    if (methodKind !== "unary") continue;
    implementation[localName] = (request: unknown, context: HandlerContext) => {
      const timeoutMs = context.timeoutMs();
      if (timeoutMs !== undefined && timeoutMs <= 0) {
        throw new ConnectError("the operation timed out", Code.DeadlineExceeded);
      }
      const headers = new Headers();
      for (const name of passedOn) {
        const value = context.requestHeader.get(name);
        if (value !== null) headers.set(name, value);
      }
      return methods[localName]!(request, { signal: context.signal, timeoutMs, headers });
    };
  }
  return implementation as ServiceImpl<S>;
}
