import { randomUUID } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import type { AuthConfig } from "../config.ts";

/** Puts codes into words and hands them to the sender. */
export interface SmsDelivery {
  /** Throws OVERLOADED when too many messages are on their way. */
  requireCapacity(): void;
  /** Sends a code. Throws SMS_NOT_SENT. */
  send(phone: string, code: string): Promise<void>;
  /** Begins to send a code and returns at once; what fails is counted and logged. */
  sendInBackground(phone: string, code: string): void;
}

/** Messages on their way on one instance, at most. */
const MAX_SENDING = 1_000;

export function createSmsDelivery({
  config,
  sms,
  log,
  metrics,
}: {
  config: Pick<AuthConfig, "smsTemplate" | "smsCodeSeconds" | "smsBudgetMs">;
  sms: SmsSender;
  log: Log;
  metrics: Metrics;
}): SmsDelivery {
  const sent = metrics.counter("lucky_auth_sms_total", "Codes handed over for sending.", [
    "outcome",
  ]);
  const minutes = String(Math.ceil(config.smsCodeSeconds / 60));
  let sending = 0;

  async function send(phone: string, code: string): Promise<void> {
    const text = config.smsTemplate.replaceAll("{code}", code).replaceAll("{minutes}", minutes);
    const smsId = randomUUID();
    sending += 1;
    try {
      await sms.send({ phone, text, smsId }, AbortSignal.timeout(2 * config.smsBudgetMs));
      sent.inc({ outcome: "sent" });
    } catch (error) {
      sent.inc({ outcome: "failed" });
      log.warn({ event: "sms_not_sent", smsId });
      throw error;
    } finally {
      sending -= 1;
    }
  }

  return {
    requireCapacity() {
      if (sending < MAX_SENDING) return;
      throw fail(ErrorReason.OVERLOADED, "too many messages at once", { retryAfterMs: 1_000 });
    },
    send,
    sendInBackground: (phone, code) => void send(phone, code).catch(() => {}),
  };
}
