import type { DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import type { ConnectError, Transport, UnaryResponse } from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { createGuard, type GuardOptions } from "./guard.ts";
import { hold } from "./instance-pool.ts";
import { routeKey } from "./rendezvous.ts";
import type { TransportFailure } from "./transport-failure.ts";

/** The called service, and this process as its caller. */
export type RemoteOptions = GuardOptions;

/** A transport that holds connections. */
export interface RemoteTransport extends Transport {
  /** Ends all connections, and with them the calls in flight. Idempotent. */
  close(): void;
}

/**
 * Calls the live instances of a service, over lean links or gRPC. A call with a `routeKey` goes to
 * the instance of its key; other calls go round robin.
 *
 * Retries: a call that could not be sent is retried on the other instances. A call whose connection
 * broke, or whose instance answered that it cannot serve, is retried once, only if its method is
 * internal or declares that it is idempotent, and only within the retry budget. A call that still fails is
 * UNAVAILABLE. Other answers of the service, errors too, are returned unchanged.
 *
 * Outlier ejection: an instance that could not be reached, or whose connection broke, is the last
 * choice for a while. So is one that answers an internal call with UNAVAILABLE or not before the
 * deadline, or that says that it cannot serve: it may have lost its own connection to the database.
 *
 * Circuit breaker: an instance that failed several times, or has been silent for 3 s while calls
 * wait, gets no calls except probes. While no instance gets calls, they fail with UNAVAILABLE at
 * once.
 *
 * A unary call without a deadline gets 10 s. A stream has no default deadline. Its start is retried
 * by the same rules; when its connection breaks later it ends with UNAVAILABLE, and the caller
 * starts a new stream.
 */
export function remoteTransport(options: RemoteOptions): RemoteTransport {
  const { secret, clock } = options;
  const guard = createGuard(options);

  function withSecret(header: HeadersInit | undefined): Headers {
    const headers = new Headers(header);
    headers.set(MESH_HEADER, secret);
    return headers;
  }

  return {
    async unary(method, signal, wantedMs = DEFAULT_DEADLINE_MS, header, input, values) {
      const timeoutMs = Math.min(wantedMs, MAX_DEADLINE_MS);
      const headers = options.lean ? header : withSecret(header);
      const ofUser = guard.isOfUser(method);
      const order = await guard.candidates(values?.get(routeKey));
      const startedAtMs = clock.elapsed();
      let cause: unknown;
      let refusal: ConnectError | undefined;
      for (let at = 0, retried = false; at < order.length; ) {
        const instance = order[at]!;
        const sentAtMs = clock.elapsed();
        const leftMs =
          timeoutMs > 0 ? Math.max(1, Math.ceil(timeoutMs - (sentAtMs - startedAtMs))) : 0;
        const refused = guard.refusalOf(instance, { ofUser, leftMs });
        if (refused !== undefined) {
          refusal = refused;
          at++;
          continue;
        }
        const release = hold(instance, ofUser);
        const ended = instance.breaker.sent();
        try {
          const transport = instance.lean ?? instance.grpc;
          const unary = method as DescMethodUnary;
          const answer = await transport.unary(unary, signal, leftMs, headers, input, values);
          guard.succeeded(instance, sentAtMs);
          return answer as UnaryResponse<typeof method.input, typeof method.output>;
        } catch (error) {
          const failure = guard.failed({ instance, method, sentAtMs, signal }, error);
          if (failure === "answered" || failure === "unanswered") throw error;
          cause = error;
          // Without another instance, the retry goes to the same one over a new connection.
          const next = failure === "broken" && at + 1 === order.length ? at : at + 1;
          if (failure === "unsent") at++;
          else if (!retried && next < order.length && guard.mayRetry(method)) {
            retried = true;
            at = next;
          } else if (failure === "impaired") throw error;
          else break;
        } finally {
          ended();
          release();
        }
      }
      throw guard.notSent(refusal, cause);
    },
    async stream(method, signal, wantedMs, header, input, values) {
      const timeoutMs = wantedMs && Math.min(wantedMs, MAX_DEADLINE_MS);
      if (method.methodKind !== "server_streaming") {
        throw fail(ErrorReason.METHOD_NOT_FOUND, `${method.name} takes a stream`);
      }
      const headers = withSecret(header);
      const requests: MessageInitShape<typeof method.input>[] = [];
      for await (const request of input) requests.push(request);
      let cause: unknown;
      let refusal: ConnectError | undefined;
      for (const instance of await guard.candidates(values?.get(routeKey))) {
        // A stream lives long, and its method bounds the streams: it takes no place of short calls.
        const refused = guard.refusalOf(instance, { ofUser: false, leftMs: 0 });
        if (refused !== undefined) {
          refusal = refused;
          continue;
        }
        const release = hold(instance, false);
        const call = { instance, method, signal };
        try {
          const { grpc } = instance;
          const again = createAsyncIterable(requests);
          const answer = await grpc.stream(method, signal, timeoutMs, headers, again, values);
          signal?.addEventListener("abort", release, { once: true });
          const ended = (error?: unknown) => {
            release();
            signal?.removeEventListener("abort", release);
            if (error === undefined || isAnswer(guard.failed(call, error))) return;
            throw guard.unavailable(error);
          };
          return { ...answer, message: withEnd(answer.message, ended) };
        } catch (error) {
          release();
          const failure = guard.failed(call, error);
          if (isAnswer(failure)) throw error;
          cause = error;
          if (failure === "broken" && !guard.mayRetry(method)) break;
        }
      }
      throw guard.notSent(refusal, cause);
    },
    close: guard.close,
  };
}

/** Calls a service at one known address, without a registry. */
export function fixedTransport(
  options: Omit<RemoteOptions, "registry"> & { readonly address: string },
): RemoteTransport {
  const { address, service } = options;
  const only = { instanceId: address, service, address, publicAddress: "", load: 0 };
  return remoteTransport({ ...options, registry: { instances: async () => [only] } });
}

/**
 * Passes messages through. Calls `ended` when they end or the caller stops reading, with the error if
 * there is one; an error that `ended` throws replaces it.
 */
async function* withEnd<T>(
  messages: AsyncIterable<T>,
  ended: (error?: unknown) => void,
): AsyncGenerator<T> {
  try {
    for await (const message of messages) yield message;
  } catch (error) {
    ended(error);
    throw error;
  } finally {
    ended();
  }
}

/** Whether a failure is returned to the caller unchanged. */
function isAnswer(failure: TransportFailure): boolean {
  return failure === "answered" || failure === "unanswered";
}
