import type { Clock } from "#platform/clock.ts";
import { watchFiles } from "#platform/files/watched-files.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Settings } from "./running-settings.ts";

export interface WatchSettingsOptions {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/**
 * Applies changes of the file of settings while the process runs; nothing without a file. Returns a
 * function that stops it.
 */
export function watchSettings({ settings, clock, log, metrics }: WatchSettingsOptions): () => void {
  const { path } = settings.file;
  if (path === "") return () => {};
  const reloads = metrics.counter(
    "lucky_settings_reloads_total",
    "Changes of the file of settings, by result: applied, or refused with all of its faults.",
    ["result"],
  );
  const refused = metrics.gauge(
    "lucky_settings_refused",
    "1 while the present content of the file of settings is refused, and older settings stay in use.",
  );
  refused.set(0);

  function reload(): void {
    const result = settings.reload(clock.now());
    if (result.kind === "unchanged") return;
    reloads.inc({ result: result.kind });
    refused.set(result.kind === "refused" ? 1 : 0);
    if (result.kind === "refused") {
      log.error({ event: "settings_refused", file: path, faults: result.faults });
      return;
    }
    const { changes, overridden, modifiedAtMs, ownerUid } = result;
    const modifiedAt = new Date(modifiedAtMs).toISOString();
    log.info({ event: "settings_changed", file: path, modifiedAt, ownerUid, changes });
    if (overridden.length > 0)
      log.warn({ event: "settings_overridden", file: path, settings: overridden });
  }

  return watchFiles({ paths: [path], clock, log, changed: reload });
}
