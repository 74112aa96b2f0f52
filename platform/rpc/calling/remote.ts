import type { DescMethod, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import type { ConnectError, Transport, UnaryResponse } from "@connectrpc/connect";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { DEFAULT_DEADLINE_MS, MAX_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { MESH_HEADER } from "#platform/rpc/interceptors/access.ts";
import { rulesOf } from "#platform/rpc/rules.ts";
import { hold, type InstanceConnection, instancePool } from "./instance-pool.ts";
import { outlierEjection } from "./outlier-ejection.ts";
import { rankByKey, routeKey } from "./rendezvous.ts";

export interface RemoteOptions {
  readonly registry: Pick<Registry, "instances">;
  /** Name of the service process: "auth", "server" … */
  readonly service: string;
  /** Secret of the calling service. It is sent when a link opens, or with every call by gRPC. */
  readonly secret: string;
  /** TLS of the mesh; plain text when absent. */
  readonly tls?: MeshTls | undefined;
  readonly log: Log;
  readonly clock: Clock;
  /** Whether unary calls go over lean links, which all our service processes serve. */
  readonly lean?: boolean;
}

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
 * broke is retried once, and only if its method is internal or idempotent. A call that still fails
 * is UNAVAILABLE. Answers of the service, errors too, are returned unchanged.
 *
 * Outlier ejection: an instance that could not be reached, or whose connection broke, is the last
 * choice for a while. So is one that answers an internal call with UNAVAILABLE or not before the
 * deadline: it may have lost its own connection to the database.
 *
 * A unary call without a deadline gets 10 s. A stream has no default deadline. Its start is retried
 * by the same rules; when its connection breaks later it ends with UNAVAILABLE, and the caller
 * starts a new stream.
 */
export function remoteTransport(options: RemoteOptions): RemoteTransport {
  const { service, secret, clock } = options;
  const pool = instancePool(options);
  const ejection = outlierEjection(options);
  let turn = 0;

  /** Connections in the order in which a call tries them. */
  async function candidates(key: string | undefined): Promise<InstanceConnection[]> {
    const live = await pool.live();
    const start = live.length === 0 ? 0 : turn++ % live.length;
    const order =
      key === undefined ? [...live.slice(start), ...live.slice(0, start)] : rankByKey(live, key);
    return ejection.ejectedLast(order);
  }

  function withSecret(header: HeadersInit | undefined): Headers {
    const headers = new Headers(header);
    headers.set(MESH_HEADER, secret);
    return headers;
  }

  function unavailable(cause?: unknown): ConnectError {
    return fail(ErrorReason.UNAVAILABLE, `${service} cannot be reached`, { cause });
  }

  return {
    async unary(method, signal, wantedMs = DEFAULT_DEADLINE_MS, header, input, values) {
      const timeoutMs = Math.min(wantedMs, MAX_DEADLINE_MS);
      const headers = options.lean ? header : withSecret(header);
      const order = await candidates(values?.get(routeKey));
      const startedAtMs = clock.elapsed();
      let cause: unknown;
      for (let at = 0, retried = false; at < order.length; ) {
        const instance = order[at]!;
        const sentAtMs = clock.elapsed();
        const leftMs =
          timeoutMs > 0 ? Math.max(1, Math.ceil(timeoutMs - (sentAtMs - startedAtMs))) : timeoutMs;
        const release = hold(instance);
        try {
          const transport = instance.lean ?? instance.grpc;
          const unary = method as DescMethodUnary;
          const answer = await transport.unary(unary, signal, leftMs, headers, input, values);
          ejection.succeeded(instance, sentAtMs);
          return answer as UnaryResponse<typeof method.input, typeof method.output>;
        } catch (error) {
          const failure = ejection.failed({ instance, method, sentAtMs, signal }, error);
          if (failure === "answered") throw error;
          cause = error;
          if (failure === "unsent") at++;
          else if (retried || !isRetriable(method)) break;
          else {
            retried = true;
            // Without another instance, the retry goes to the same instance over a new connection.
            if (at + 1 < order.length) at++;
          }
        } finally {
          release();
        }
      }
      throw unavailable(cause);
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
      for (const instance of await candidates(values?.get(routeKey))) {
        const release = hold(instance);
        const call = { instance, method, signal };
        try {
          const { grpc } = instance;
          const again = createAsyncIterable(requests);
          const answer = await grpc.stream(method, signal, timeoutMs, headers, again, values);
          signal?.addEventListener("abort", release, { once: true });
          const ended = (error?: unknown) => {
            release();
            signal?.removeEventListener("abort", release);
            if (error === undefined || ejection.failed(call, error) === "answered") return;
            throw unavailable(error);
          };
          return { ...answer, message: withEnd(answer.message, ended) };
        } catch (error) {
          release();
          const failure = ejection.failed(call, error);
          if (failure === "answered") throw error;
          cause = error;
          if (failure === "broken" && !isRetriable(method)) break;
        }
      }
      throw unavailable(cause);
    },
    close: pool.close,
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

/** Whether it is harmless to execute a call twice. */
function isRetriable(method: DescMethod): boolean {
  if (rulesOf(method).access === Access.INTERNAL) return true;
  return method.idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN;
}
