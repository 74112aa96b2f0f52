import type { AuthConfig } from "../config.ts";

export type Purpose = (typeof PURPOSES)[number];

/** The fields of a stored key that the rotation schedule depends on. */
export interface KeyTimes {
  readonly keyId: string;
  readonly purpose: string;
  readonly activeAt: Date;
  /** Time since which no stored value depends on the key; null while a value may. */
  readonly retiredAt: Date | null;
}

/** The key changes that are due now. */
export interface RotationSchedule {
  /** Keys to create, and when each becomes active. */
  readonly create: readonly { readonly purpose: Purpose; readonly activeAt: Date }[];
  /** Ids of unused keys, to delete. */
  readonly remove: readonly string[];
}

const PURPOSES = ["access", "password", "data", "index", "code", "userId"] as const;
const DAY_MS = 86_400_000;
/** Largest difference between the clocks of two instances. */
export const CLOCK_SKEW_MS = 60_000;

/**
 * Computes which keys to create and which to delete. `rows` may come in any order. A purpose
 * without a key gets one that is active immediately. A successor becomes active only after the
 * publish-ahead time, so that every instance has loaded it by then. The key of user ids is never
 * rotated: another one could create an id that exists.
 */
export function scheduleRotation(
  rows: readonly KeyTimes[],
  config: AuthConfig,
  nowMs: number,
): RotationSchedule {
  const create: { purpose: Purpose; activeAt: Date }[] = [];
  const remove: string[] = [];
  for (const purpose of PURPOSES) {
    const newestFirst = rows
      .filter((row) => row.purpose === purpose)
      .sort((a, b) => b.activeAt.getTime() - a.activeAt.getTime());
    const [newest] = newestFirst;
    if (newest === undefined) create.push({ purpose, activeAt: new Date(nowMs) });
    else if (purpose !== "userId" && isRotationDue(newest, config, nowMs))
      create.push({ purpose, activeAt: new Date(nowMs + publishAheadMs(config)) });
    for (const [at, row] of newestFirst.entries()) {
      const successor = newestFirst[at - 1];
      if (successor && isUnused(row, successor, { purpose, config, nowMs })) remove.push(row.keyId);
    }
  }
  return { create, remove };
}

function isRotationDue(
  { activeAt }: KeyTimes,
  { keyRotationDays }: AuthConfig,
  nowMs: number,
): boolean {
  return keyRotationDays > 0 && nowMs - activeAt.getTime() >= keyRotationDays * DAY_MS;
}

/** At least two reload intervals: after that every instance has loaded a new key. */
function publishAheadMs({ keyPublishAheadSeconds, keyRefreshSeconds }: AuthConfig): number {
  return Math.max(keyPublishAheadSeconds, 2 * keyRefreshSeconds) * 1_000;
}

/**
 * Whether all tokens, ciphertexts and codes that used the key before its successor became active
 * have expired.
 */
function isUnused(
  key: KeyTimes,
  successor: KeyTimes,
  { purpose, config, nowMs }: { purpose: Purpose; config: AuthConfig; nowMs: number },
): boolean {
  const hasExpired = (lifetimeSeconds: number) =>
    successor.activeAt.getTime() + lifetimeSeconds * 1_000 + CLOCK_SKEW_MS <= nowMs;
  switch (purpose) {
    case "access":
      return hasExpired(config.accessTokenSeconds);
    case "password":
      return hasExpired(config.passwordKeyGraceSeconds);
    case "code":
      return hasExpired(Math.max(config.smsCodeSeconds, config.nonceSeconds));
    case "userId":
      return false;
    case "data":
    case "index": {
      // Values under these keys never expire: re-encryption scans the tables and sets retiredAt. An
      // instance may still be working with a row that it read just before.
      const retiredMs = key.retiredAt?.getTime() ?? Number.POSITIVE_INFINITY;
      return hasExpired(0) && retiredMs + publishAheadMs(config) + CLOCK_SKEW_MS <= nowMs;
    }
  }
}
