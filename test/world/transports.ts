import type { DescMethodUnary, DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import type { LuckyClient } from "../../client/client.ts";
import type { Teardown } from "../backends/teardown.ts";
import type { Person, Reachable } from "./people.ts";

/** One of the transports that carry the same call. */
export interface CallTransport {
  readonly name: string;
  /** Creates a client of a public service, with the person's access token. */
  client<S extends DescService>(service: S): Client<S>;
}

/**
 * Creates all transports: Connect with JSON as curl speaks it, gRPC, and calls over the socket of a
 * session. Each has a login of its own of the same person. Public methods accept the token too.
 */
export async function callTransports(
  t: Teardown,
  world: Reachable,
  person: Person,
): Promise<CallTransport[]> {
  const bearer = async (): Promise<Interceptor> => {
    const { accessToken } = await person.login();
    return (next) => (request) => {
      request.header.set("authorization", `Bearer ${accessToken}`);
      return next(request);
    };
  };
  const { client } = await person.clientDevice();
  await client.connect();
  const sessionManager = new Http2SessionManager(world.url);
  t.after(async () => {
    await person.closeDevices();
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
    { name: "Connect with JSON", client: (service) => createClient(service, json) },
    { name: "gRPC", client: (service) => createClient(service, grpc) },
    { name: "the socket", client: (service) => createClient(service, socketTransport(client)) },
  ];
}

/** Wraps the socket of a session as a Connect transport of unary calls. */
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
