import { type FSWatcher, watch } from "node:fs";
import { dirname } from "node:path";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/** Delay between an event of a folder and the read, ms: writers replace several files in a row. */
const SETTLE_MS = 200;
/** Interval of the reads without an event, ms: network file systems report none. */
const POLL_MS = 30_000;

/**
 * Calls `changed` when files may have changed, and every 30 s. It watches their folders, because a
 * file that is replaced by a rename or through a symbolic link is another file afterwards. The
 * caller compares the contents. Returns a function that ends the watch.
 */
export function watchFiles(options: {
  readonly paths: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  readonly changed: () => void;
}): () => void {
  const { paths, clock, log, changed } = options;
  let settling: Timer | undefined;
  const settle = () => {
    settling?.stop();
    settling = clock.after(SETTLE_MS, changed);
  };
  const watchers = [...new Set(paths.map((path) => dirname(path)))].flatMap((folder) => {
    const failed = (err: unknown) => log.warn({ event: "folder_not_watched", folder, err });
    try {
      const watcher: FSWatcher = watch(folder, { persistent: false }, settle);
      watcher.on("error", failed);
      return [watcher];
    } catch (err) {
      failed(err);
      return [];
    }
  });
  const poll = clock.every(POLL_MS, changed);
  return () => {
    settling?.stop();
    poll.stop();
    for (const watcher of watchers) watcher.close();
  };
}
