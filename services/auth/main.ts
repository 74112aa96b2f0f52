import { createRabbitBus } from "#platform/bus/rabbitmq.ts";
import { postgresAddress } from "#platform/config/settings.ts";
import { createIdentity } from "#platform/identity/identity.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import { createIds } from "#platform/ids.ts";
import { createRedisLimiter } from "#platform/limiter/redis.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { openPool } from "#platform/postgres/pool.ts";
import { isAwayAtStart } from "#platform/postgres/unavailable.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { runProcess } from "#platform/process/process.ts";
import { startServiceProcess } from "#platform/process/service-process.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { whenReachable } from "#platform/waiting.ts";
import { authConfig } from "./config.ts";
import { startAuth } from "./service.ts";

const options = {
  service: "auth",
  table: authConfig,
  needs: ["rabbitmqUrl"],
  hasTables: true,
  env: process.env,
} as const;

runProcess((stopping) =>
  startServiceProcess({ ...options, stopping }, async (mesh) => {
    const { config, platform, log, metrics, clock, registry, started, instanceId } = mesh;
    const address = postgresAddress("auth", config, platform);
    await whenReachable("PostgreSQL", () => migrate({ ...address, log }), {
      ...mesh,
      isAway: isAwayAtStart,
    });
    const pool = await openPool({
      ...address,
      max: config.postgresConnections,
      pooler: platform.postgresPooler,
      log,
      metrics,
      name: instanceId,
    });
    started.push(() => pool.end());
    const worker = await holdWorker({ pool, clock, holder: instanceId, log });
    started.push(() => worker.release());
    const ids = createIds({ window: worker.window, clock });
    const bus = await createRabbitBus({
      url: platform.rabbitmqUrl,
      quorum: platform.rabbitmqQuorum,
      log,
    });
    started.push(() => bus.close());
    const limiter = createRedisLimiter({ url: platform.redisUrl, log, metrics });
    started.push(() => limiter.close());
    const parts = { log, metrics, pool, bus, registry, limiter, ids, clock };
    const auth = await startAuth({ config, ...parts });
    started.push(() => auth.stop());
    mesh.shedder.watch("database", auth.databaseWaitMs);

    const checksWith = (verifier: TokenVerifier) =>
      serverInterceptors({
        log,
        metrics,
        clock,
        verifier,
        mesh: mesh.callers,
        shedder: mesh.shedder,
        traces: mesh.traces,
      });
    const identity = createIdentity({
      transport: (verifier) =>
        localTransport(auth.served, checksWith(verifier).interceptors, { caller: "auth" }),
      clock,
      log,
    });
    started.push(() => identity.close());
    return {
      running: auth,
      ready: identity.ready,
      listener: {
        port: config.port,
        mesh: mesh.callers,
        impaired: auth.impaired,
        ...checksWith(identity.verifier),
      },
    };
  }),
);
