import type { DescMethodUnary, DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import type { LuckyClient } from "../../client/client.ts";
import type { Person, Reachable } from "./people.ts";

/** One of the ways to call the same method. */
export interface Door {
  readonly name: string;
  /** A client of a public service, with the token of the person who came in by this door. */
  of<S extends DescService>(service: S): Client<S>;
}

interface Ending {
  after(close: () => Promise<void>): void;
}

/**
 * All doors, with three logins of one person: Connect with JSON as curl speaks it, gRPC, and calls
 * over the socket of a session. What may be called without a token may be called with one.
 */
export async function doorsOf(t: Ending, world: Reachable, person: Person): Promise<Door[]> {
  const bearer = async (): Promise<Interceptor> => {
    const { accessToken } = await person.login();
    return (next) => (request) => {
      request.header.set("authorization", `Bearer ${accessToken}`);
      return next(request);
    };
  };
  const { client } = await person.phone();
  await client.connect();
  const sessionManager = new Http2SessionManager(world.url);
  t.after(async () => {
    await person.leave();
    sessionManager.abort();
  });
  const common = { baseUrl: world.url, defaultTimeoutMs: 30_000 };
  const json = createConnectTransport({
    ...common,
    httpVersion: "1.1",
    useBinaryFormat: false,
    interceptors: [await bearer()],
  });
  const grpc = createGrpcTransport({ ...common, sessionManager, interceptors: [await bearer()] });
  return [
    { name: "Connect with JSON", of: (service) => createClient(service, json) },
    { name: "gRPC", of: (service) => createClient(service, grpc) },
    { name: "the socket", of: (service) => createClient(service, socketTransport(client)) },
  ];
}

/** The socket of a session as a transport of unary calls. */
function socketTransport(client: LuckyClient): Transport {
  return {
    async unary(method, _signal, _timeoutMs, _header, input) {
      const message = await client.callOverSocket(method as DescMethodUnary, input as never);
      const headers = { header: new Headers(), trailer: new Headers() };
      return {
        stream: false,
        service: method.parent,
        method,
        message: message as never,
        ...headers,
      };
    },
    stream() {
      throw new Error("the socket carries unary calls");
    },
  };
}
