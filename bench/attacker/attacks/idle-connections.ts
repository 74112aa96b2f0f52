import { HTTP2_START } from "../../../test/http2/frames.ts";
import type { Attack } from "../target/attack.ts";
import { inParallel, keepDoing, pause } from "../target/loops.ts";
import { closedByServer } from "../target/raw-http2.ts";

/** Open files of each process, and connections that the attacker keeps trying to hold. */
const OPEN_FILES = 1_024;
/** Pause before a closed connection is replaced, ms. */
const REPLACE_MS = 1_000;

export const idleConnections: Attack = {
  name: "idle-connections",
  summary: `${OPEN_FILES} idle HTTP/2 connections of one address, to servers with at most ${OPEN_FILES} open files`,
  openFiles: OPEN_FILES,
  prepare: (target) => (signal) =>
    inParallel(OPEN_FILES, () =>
      keepDoing(target, signal, async () => {
        const socket = target.connect();
        socket.write(HTTP2_START);
        await closedByServer(socket);
        if (signal.aborted) return;
        target.tally.answered("closed");
        socket.destroy();
        await pause(REPLACE_MS, signal);
      }),
    ),
};
