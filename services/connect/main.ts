import { createClient } from "@connectrpc/connect";
import { GroupService } from "../../gen/lucky/group/v1/group_pb.js";
import { IngressService } from "../../gen/lucky/internal/ingress/v1/ingress_pb.js";
import { MessageService } from "../../gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "../../gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import { createRabbitBus } from "../../platform/bus/rabbitmq.ts";
import { createIdentity } from "../../platform/identity.ts";
import { addressOf, startMember } from "../../platform/member.ts";
import { openAt } from "../../platform/port.ts";
import { runProcess } from "../../platform/process.ts";
import { methodTable } from "../../platform/rpc/methods.ts";
import { connectConfig } from "./config.ts";
import { startConnect } from "./service.ts";

const options = {
  service: "connect",
  table: connectConfig,
  needs: ["rabbitmqUrl"],
  env: process.env,
} as const;

runProcess(() =>
  startMember(options, async (mesh) => {
    const { config, platform, log, metrics, clock, registry, started, instanceId } = mesh;
    const bus = await createRabbitBus({
      url: platform.rabbitmqUrl,
      quorum: platform.rabbitmqQuorum,
      log,
    });
    started.push(() => bus.close());
    const auth = mesh.remote("auth");
    const server = mesh.remote("server", { lean: true });
    const identity = createIdentity({ transport: () => auth, clock, log });
    started.push(() => identity.close());
    const host = config.host || platform.host;
    const place = { host, port: config.port, variable: "LUCKY_CONNECT_PORT" };
    const connect = await openAt(place, () =>
      startConnect({
        config: { ...config, host },
        log,
        metrics,
        bus,
        registry,
        verifier: identity.verifier,
        revocations: identity.revocations,
        ingress: createClient(IngressService, server),
        methods: methodTable([
          { service: UserService, transport: auth },
          { service: MessageService, transport: server },
          { service: GroupService, transport: server },
          { service: PresenceService, transport: server },
        ]),
        clock,
        instance: {
          instanceId,
          address: addressOf({ ...platform, host }, config.port),
          publicAddress: config.publicAddress,
        },
      }),
    );
    return { running: connect, ready: identity.ready };
  }),
);
