import { createClient } from "@connectrpc/connect";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { createRabbitBus } from "#platform/bus/rabbitmq.ts";
import { openConnectionBounds } from "#platform/connections/open-files.ts";
import { createIdentity } from "#platform/identity/identity.ts";
import { createRedisLimiter } from "#platform/limiter/redis.ts";
import { openAt } from "#platform/process/listen-address.ts";
import { runProcess } from "#platform/process/process.ts";
import { addressOf, startServiceProcess } from "#platform/process/service-process.ts";
import { methodTable } from "#platform/rpc/calling/method-table.ts";
import { publicServices } from "#platform/rpc/contract.ts";
import { budgetsOf } from "#platform/rpc/interceptors/budgets.ts";
import { connectConfig } from "./config.ts";
import { startConnect } from "./service.ts";

const options = {
  service: "connect",
  table: connectConfig,
  needs: ["rabbitmqUrl"],
  env: process.env,
} as const;

runProcess((stopping) =>
  startServiceProcess({ ...options, stopping }, async (mesh) => {
    const { config, platform, log, metrics, clock, registry, started, instanceId } = mesh;
    const bounds = openConnectionBounds({ ...mesh, filesPerConnection: 1 });
    const bus = await createRabbitBus({
      url: platform.rabbitmqUrl,
      quorum: platform.rabbitmqQuorum,
      log,
    });
    started.push(() => bus.close());
    const limiter = createRedisLimiter({ url: platform.redisUrl, log, metrics });
    started.push(() => limiter.close());
    const auth = mesh.remote("auth", { lean: true });
    const server = mesh.remote("server", { lean: true });
    const identity = createIdentity({ transport: () => auth, clock, log });
    started.push(() => identity.close());
    const host = config.host || platform.host;
    const listenAddress = { host, port: config.port, variable: "LUCKY_CONNECT_PORT" };
    const connect = await openAt(listenAddress, () =>
      startConnect({
        config,
        host,
        log,
        metrics,
        bus,
        registry,
        verifier: identity.verifier,
        revocations: identity.revocations,
        ingress: createClient(IngressService, server),
        methods: methodTable(publicServices({ auth, server }), {
          limiter,
          budgets: budgetsOf(mesh.limits),
          shedder: mesh.shedder,
        }),
        sessions: createClient(SessionService, auth),
        clock,
        traces: mesh.traces,
        gatewaySecrets: platform.gatewaySecret,
        tls: mesh.tls?.files,
        bounds,
        instance: {
          instanceId,
          address: addressOf({ ...platform, host }, config.port),
          publicAddress: config.publicAddress,
          opsAddress: mesh.opsAddress,
        },
      }),
    );
    return { running: connect, ready: identity.ready, deliveries: connect.deliveries };
  }),
);
