import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { createConsoleSms } from "#platform/sms/console.ts";
import { createHttpSms } from "#platform/sms/http.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import type { AuthConfig } from "../config.ts";

/** Creates the configured SMS sender. Throws when the http sender has no URL or no secret. */
export function createSmsSender({
  config,
  clock,
  log,
  metrics,
}: {
  config: Pick<
    AuthConfig,
    "smsAttempts" | "smsBudgetMs" | "smsSecret" | "smsSender" | "smsTimeoutMs" | "smsUrl"
  >;
  clock: Clock;
  log: Log;
  metrics: Metrics;
}): SmsSender {
  if (config.smsSender === "console") return createConsoleSms();
  if (config.smsUrl === "" || config.smsSecret === "")
    throw new Error("The http sender needs LUCKY_AUTH_SMS_URL and LUCKY_AUTH_SMS_SECRET.");
  return createHttpSms({
    url: config.smsUrl,
    secret: config.smsSecret,
    bounds: () => ({
      timeoutMs: config.smsTimeoutMs,
      attempts: config.smsAttempts,
      budgetMs: config.smsBudgetMs,
    }),
    clock,
    log,
    metrics,
  });
}
