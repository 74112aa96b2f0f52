import type { AuthConfig } from "../config.ts";

/** What a key is for. */
export type Purpose = (typeof PURPOSES)[number];

/** What of a stored key decides about its life. */
export interface KeyTimes {
  readonly keyId: string;
  readonly purpose: string;
  readonly activeAt: Date;
  /** Since when nothing lies under it any more; null while something may. */
  readonly retiredAt: Date | null;
}

/** What is due. */
export interface RotationSchedule {
  /** Keys to be made, and when each becomes active. */
  readonly create: readonly { readonly purpose: Purpose; readonly activeAt: Date }[];
  /** Ids of keys that nothing needs any more. */
  readonly remove: readonly string[];
}

const PURPOSES = ["access", "password", "data", "index", "code"] as const;
const DAY_MS = 86_400_000;
/** How far apart the clocks of instances may be. */
const CLOCK_SKEW_MS = 60_000;

/**
 * Says which keys get a successor and which are done with. `rows` may come in any order. A purpose
 * without a key gets one that is active at once; a successor is known to everybody before it is
 * active, because it is made that long ahead.
 */
export function scheduleRotation(
  rows: readonly KeyTimes[],
  config: AuthConfig,
  nowMs: number,
): RotationSchedule {
  const make: { purpose: Purpose; activeAt: Date }[] = [];
  const remove: string[] = [];
  for (const purpose of PURPOSES) {
    const newestFirst = rows
      .filter((row) => row.purpose === purpose)
      .sort((a, b) => b.activeAt.getTime() - a.activeAt.getTime());
    const [newest] = newestFirst;
    if (newest === undefined) make.push({ purpose, activeAt: new Date(nowMs) });
    else if (isRotationDue(newest, config, nowMs))
      make.push({ purpose, activeAt: new Date(nowMs + publishAheadMs(config)) });
    for (const [at, row] of newestFirst.entries()) {
      const successor = newestFirst[at - 1];
      if (successor && isUnused(row, successor, { purpose, config, nowMs })) remove.push(row.keyId);
    }
  }
  return { create: make, remove };
}

function isRotationDue(
  { activeAt }: KeyTimes,
  { keyRotationDays }: AuthConfig,
  nowMs: number,
): boolean {
  return keyRotationDays > 0 && nowMs - activeAt.getTime() >= keyRotationDays * DAY_MS;
}

/** Each instance reads the keys that often: twice that, and all of them know a new one. */
function publishAheadMs({ keyPublishAheadSeconds, keyRefreshSeconds }: AuthConfig): number {
  return Math.max(keyPublishAheadSeconds, 2 * keyRefreshSeconds) * 1_000;
}

/** Whether nothing that was made with the key can come any more, since its successor is active. */
function isUnused(
  key: KeyTimes,
  successor: KeyTimes,
  { purpose, config, nowMs }: { purpose: Purpose; config: AuthConfig; nowMs: number },
): boolean {
  const goneAt = (seconds: number) =>
    successor.activeAt.getTime() + seconds * 1_000 + CLOCK_SKEW_MS <= nowMs;
  switch (purpose) {
    case "access":
      return goneAt(config.accessTokenSeconds);
    case "password":
      return goneAt(config.passwordKeyGraceSeconds);
    case "code":
      return goneAt(Math.max(config.smsCodeSeconds, config.nonceSeconds));
    case "data":
    case "index": {
      // Only who looked through the tables knows; an instance may still hold what it has just read.
      const retiredMs = key.retiredAt?.getTime() ?? Number.POSITIVE_INFINITY;
      return goneAt(0) && retiredMs + publishAheadMs(config) + CLOCK_SKEW_MS <= nowMs;
    }
  }
}
