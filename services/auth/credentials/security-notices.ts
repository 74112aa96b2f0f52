import { create, toBinary } from "@bufbuild/protobuf";
import { type SecurityNoticeKind, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";

/** What happened to an account. */
export interface Notice {
  userId: string;
  kind: SecurityNoticeKind;
  deviceId?: string;
  deviceName?: string;
}

/** Tells a user's devices what happened to the account. Ephemeral. */
export interface SecurityNotices {
  /** Returns at once; what cannot be told is logged and forgotten. */
  tell(notice: Notice): void;
}

const PUBLISH_MS = 5_000;

export function createSecurityNotices({
  bus,
  registry,
  clock,
  log,
}: {
  bus: Pick<Bus, "publish">;
  registry: Pick<Registry, "locate">;
  clock: Clock;
  log: Log;
}): SecurityNotices {
  async function publish(notice: Notice): Promise<void> {
    const channels = [userChannel(notice.userId)];
    const body = encode(notice, { channels, atMs: clock.now() });
    const [instanceIds = []] = await registry.locate(channels);
    const signal = AbortSignal.timeout(PUBLISH_MS);
    await Promise.all(instanceIds.map((instanceId) => bus.publish(instanceId, body, signal)));
  }
  return {
    tell(notice) {
      publish(notice).catch((err: unknown) =>
        log.warn({ event: "notice_not_told", kind: notice.kind, userId: notice.userId, err }),
      );
    },
  };
}

function encode(
  { kind, deviceId = "", deviceName = "" }: Notice,
  { channels, atMs }: { channels: string[]; atMs: number },
): Uint8Array {
  const value = { kind, deviceId, deviceName, atMs: BigInt(atMs) };
  const said = create(ServerFrameSchema, { kind: { case: "securityNotice", value } });
  const frame = toBinary(ServerFrameSchema, said);
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, { signals: [{ channels, frame }] }));
}
