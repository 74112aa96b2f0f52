import { createRabbitBus } from "#platform/bus/rabbitmq.ts";
import { ownSecret } from "#platform/config/secrets.ts";
import { openConnectionBounds } from "#platform/connections/open-files.ts";
import { createIdentity } from "#platform/identity/identity.ts";
import { consumeRevocations } from "#platform/identity/revocation-feed.ts";
import { createRedisLimiter } from "#platform/limiter/redis.ts";
import { runProcess } from "#platform/process/process.ts";
import { startServiceProcess } from "#platform/process/service-process.ts";
import { budgetsOf } from "#platform/rpc/interceptors/budgets.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { gatewayConfig } from "./config.ts";
import { startGateway } from "./service.ts";

const options = {
  service: "gateway",
  table: gatewayConfig,
  needs: ["rabbitmqUrl"],
  env: process.env,
} as const;

runProcess((stopping) =>
  startServiceProcess({ ...options, stopping }, async (mesh) => {
    const { config, platform, log, metrics, clock, registry, started, instanceId } = mesh;
    // A proxied WebSocket has two sockets.
    const bounds = openConnectionBounds({ ...mesh, filesPerConnection: 2 });
    const limiter = createRedisLimiter({ url: platform.redisUrl, log, metrics });
    started.push(() => limiter.close());
    const auth = mesh.remote("auth", { lean: true });
    const identity = createIdentity({ transport: () => auth, clock, log });
    started.push(() => identity.close());
    const bus = await createRabbitBus({
      url: platform.rabbitmqUrl,
      quorum: platform.rabbitmqQuorum,
      log,
    });
    started.push(() => bus.close());
    const { revocations } = identity;
    const feed = await consumeRevocations({ bus, queue: instanceId, revocations });
    started.push(() => feed.close());
    const gateway = await startGateway({
      config,
      log,
      metrics,
      registry,
      verifier: identity.verifier,
      transports: { auth, server: mesh.remote("server", { lean: true }) },
      secret: ownSecret("gateway", platform),
      tls: mesh.tls,
      clock,
      bounds,
    });
    return {
      running: gateway,
      ready: identity.ready,
      listener: {
        port: config.port,
        pages: gateway.pages,
        upgrade: gateway.upgrade,
        fallback: gateway.fallback,
        cors: config.corsOrigins,
        certificate: gateway.certificate,
        trustedProxies: gateway.trustedProxies,
        bounds,
        ...serverInterceptors({
          log,
          metrics,
          clock,
          verifier: identity.verifier,
          limiter,
          budgets: budgetsOf(mesh.limits),
          refusalsPerSecond: () => mesh.limits.refusalsPerSecond,
          shedder: mesh.shedder,
          traces: mesh.traces,
        }),
      },
    };
  }),
);
