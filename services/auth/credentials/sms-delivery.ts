import { randomUUID } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import type { AuthConfig } from "../config.ts";

/** Renders codes as messages and passes them to the SMS sender. */
export interface SmsDelivery {
  /** Throws OVERLOADED while too many messages are in flight. */
  requireCapacity(): void;
  /** Sends a code. Throws SMS_NOT_SENT. */
  send(phone: string, code: string): Promise<void>;
  /** Sends a code in the background and returns at once. A failure is counted and logged. */
  sendInBackground(phone: string, code: string): void;
}

/** Messages in flight on one instance. More are refused with OVERLOADED. */
const MAX_IN_FLIGHT = 1_000;

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
  const sent = metrics.counter(
    "lucky_auth_sms_total",
    "SMS codes passed to the sender, by outcome.",
    ["outcome"],
  );
  const minutes = String(Math.ceil(config.smsCodeSeconds / 60));
  let inFlight = 0;

  async function send(phone: string, code: string): Promise<void> {
    const text = config.smsTemplate.replaceAll("{code}", code).replaceAll("{minutes}", minutes);
    const smsId = randomUUID();
    inFlight += 1;
    try {
      await sms.send({ phone, text, smsId }, AbortSignal.timeout(2 * config.smsBudgetMs));
      sent.inc({ outcome: "sent" });
    } catch (error) {
      sent.inc({ outcome: "failed" });
      log.warn({ event: "sms_not_sent", smsId });
      throw error;
    } finally {
      inFlight -= 1;
    }
  }

  return {
    requireCapacity() {
      if (inFlight < MAX_IN_FLIGHT) return;
      throw fail(ErrorReason.OVERLOADED, "too many messages at once", { retryAfterMs: 1_000 });
    },
    send,
    sendInBackground: (phone, code) => void send(phone, code).catch(() => {}),
  };
}
