import { createClient } from "@connectrpc/connect";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { createRabbitBus } from "#platform/bus/rabbitmq.ts";
import { postgresAddress } from "#platform/config/settings.ts";
import { createIdentity } from "#platform/identity/identity.ts";
import { createIds } from "#platform/ids.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { openPool } from "#platform/postgres/pool.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { runProcess } from "#platform/process/process.ts";
import { startServiceProcess } from "#platform/process/service-process.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { serverConfig } from "./config.ts";
import { PLANNER_SETTINGS } from "./log/database.ts";
import { startServer } from "./service.ts";

const options = {
  service: "server",
  table: serverConfig,
  needs: ["rabbitmqUrl"],
  hasTables: true,
  env: process.env,
} as const;

runProcess(() =>
  startServiceProcess(options, async (mesh) => {
    const { config, platform, log, metrics, clock, registry, started, instanceId } = mesh;
    const address = postgresAddress("server", config, platform);
    await migrate({ ...address, log });
    const pool = await openPool({
      ...address,
      max: config.postgresConnections,
      session: PLANNER_SETTINGS,
      pooler: platform.postgresPooler,
      log,
      name: instanceId,
    });
    started.push(() => pool.end());
    const worker = await holdWorker({ pool, clock, holder: instanceId, log });
    started.push(() => worker.release());
    const bus = await createRabbitBus({
      url: platform.rabbitmqUrl,
      quorum: platform.rabbitmqQuorum,
      log,
    });
    started.push(() => bus.close());
    const auth = mesh.remote("auth", { lean: true });
    const identity = createIdentity({ transport: () => auth, clock, log });
    started.push(() => identity.close());
    const server = await startServer({
      config,
      log,
      metrics,
      pool,
      bus,
      registry,
      sessions: createClient(SessionService, auth),
      ids: createIds({ window: worker.window, clock }),
      clock,
    });
    const { verifier } = identity;
    return {
      running: server,
      ready: identity.ready,
      listener: {
        port: config.port,
        mesh: mesh.callers,
        ...serverInterceptors({
          log,
          metrics,
          clock,
          verifier,
          mesh: mesh.callers,
        }),
      },
    };
  }),
);
