import { createClient } from "@connectrpc/connect";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { openLogs } from "#platform/buckets/open-logs.ts";
import { createRabbitBus } from "#platform/bus/rabbitmq.ts";
import { logAddresses, postgresAddress } from "#platform/config/settings.ts";
import { createIdentity } from "#platform/identity/identity.ts";
import { createIds } from "#platform/ids.ts";
import { migrate } from "#platform/postgres/migrate.ts";
import { openPool, type Pool } from "#platform/postgres/pool.ts";
import { isAwayAtStart } from "#platform/postgres/unavailable.ts";
import { holdWorker } from "#platform/postgres/worker.ts";
import { runProcess } from "#platform/process/process.ts";
import { meshProcesses } from "#platform/process/processes.ts";
import { startServiceProcess } from "#platform/process/service-process.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { whenReachable } from "#platform/waiting.ts";
import { serverConfig } from "./config.ts";
import { PLANNER_SETTINGS } from "./log/database.ts";
import { startServer } from "./service.ts";

/** Connections to a home database without conversations: the worker number needs one at a time. */
const HOME_CONNECTIONS = 2;

const options = {
  service: "server",
  table: serverConfig,
  needs: ["rabbitmqUrl"],
  hasTables: true,
  env: process.env,
} as const;

runProcess((stopping) =>
  startServiceProcess({ ...options, stopping }, async (mesh) => {
    const { config, platform, log, metrics, clock, registry, started, instanceId } = mesh;
    const home = postgresAddress("server", config, platform);
    const options = {
      max: config.postgresConnections,
      session: PLANNER_SETTINGS,
      pooler: platform.postgresPooler,
      log,
      metrics,
      name: instanceId,
    };
    const waits = { ...mesh, isAway: isAwayAtStart };
    await whenReachable("PostgreSQL", () => migrate({ ...home, log }), waits);
    const openAll = () => openLogs(logAddresses(platform, home), { ...options, home });
    const pools = await whenReachable("databases of the log", openAll, waits);
    for (const pool of pools) started.push(() => pool.end());
    let [pool] = pools as [Pool, ...Pool[]];
    if (platform.postgresLogUrls.length > 0) {
      // Worker numbers are in the home database.
      pool = await openPool({ ...options, ...home, max: HOME_CONNECTIONS });
      started.push(() => pool.end());
    }
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
      pools,
      bus,
      registry,
      sessions: createClient(SessionService, auth),
      ids: createIds({ window: worker.window, clock }),
      clock,
      processes: meshProcesses({ registry, platform }),
    });
    const { verifier } = identity;
    const { shedder } = mesh;
    shedder.watch("database", server.databaseWaitMs);
    return {
      running: server,
      ready: identity.ready,
      listener: {
        port: config.port,
        mesh: mesh.callers,
        impaired: server.impaired,
        ...serverInterceptors({
          log,
          metrics,
          clock,
          shedder,
          verifier,
          mesh: mesh.callers,
          traces: mesh.traces,
        }),
      },
    };
  }),
);
