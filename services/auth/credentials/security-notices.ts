import { create, toBinary } from "@bufbuild/protobuf";
import { type SecurityNoticeKind, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Registry } from "#platform/registry/registry.ts";

/** A security event of an account. */
export interface Notice {
  userId: string;
  kind: SecurityNoticeKind;
  deviceId?: string;
  deviceName?: string;
}

/** Notifies a user's online devices of security events. Ephemeral: nothing is stored or retried. */
export interface SecurityNotices {
  /** Sends in the background and returns at once. A failed notice is logged and dropped. */
  send(notice: Notice): void;
}

/** Time-out of one notice. */
const PUBLISH_TIMEOUT_MS = 5_000;

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
    const signal = AbortSignal.timeout(PUBLISH_TIMEOUT_MS);
    await Promise.all(instanceIds.map((instanceId) => bus.publish(instanceId, body, signal)));
  }
  return {
    send(notice) {
      publish(notice).catch((err: unknown) =>
        log.warn({
          event: "security_notice_failed",
          kind: notice.kind,
          userId: notice.userId,
          err,
        }),
      );
    },
  };
}

function encode(
  { kind, deviceId = "", deviceName = "" }: Notice,
  { channels, atMs }: { channels: string[]; atMs: number },
): Uint8Array {
  const value = { kind, deviceId, deviceName, atMs: BigInt(atMs) };
  const message = create(ServerFrameSchema, { kind: { case: "securityNotice", value } });
  const frame = toBinary(ServerFrameSchema, message);
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, { signals: [{ channels, frame }] }));
}
