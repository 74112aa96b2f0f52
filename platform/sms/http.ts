import { createHmac } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { pause } from "#platform/waiting.ts";
import type { SmsSender } from "./sms.ts";

/** Bounds of the attempts to pass one message to the gateway. */
export interface SmsBounds {
  /** Time-out of one attempt, milliseconds. */
  readonly timeoutMs: number;
  /** Maximum attempts for one message. */
  readonly attempts: number;
  /** Time-out of all attempts for one message together, milliseconds. */
  readonly budgetMs: number;
}

export interface HttpSmsOptions {
  /** URL of the gateway: http:// or https://. */
  readonly url: string;
  /** Key that signs requests: HMAC-SHA256 over time and body. */
  readonly secret: string;
  /** The bounds of the next message. */
  readonly bounds: () => SmsBounds;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** Time of the request, milliseconds since the Unix epoch, decimal. */
export const SMS_TIME_HEADER = "lucky-sms-time";
/** HMAC-SHA256 of `<time>.<body>` under the secret, hexadecimal. */
export const SMS_SIGNATURE_HEADER = "lucky-sms-signature";

/** Back-off before the first retry, milliseconds; it doubles with each further retry. */
const FIRST_BACKOFF_MS = 100;

/** Result of one attempt. */
type Outcome =
  | { readonly kind: "taken" }
  /** The gateway rejects the message: a retry would have the same result. */
  | { readonly kind: "refused"; readonly status: number }
  | { readonly kind: "failed"; readonly status?: number };

/** The value of `lucky-sms-signature`. */
export function signSms(secret: string, time: string, body: string): string {
  return createHmac("sha256", secret).update(`${time}.${body}`).digest("hex");
}

/**
 * Posts messages to a gateway of the operator's choice, as JSON {phone, text, smsId}. Any 2xx
 * status means that the gateway accepted the message. A 5xx, a broken connection or a time-out is
 * retried under the same smsId with back-off, within the bounds of attempts and time; any other
 * response is final.
 */
export function createHttpSms(options: HttpSmsOptions): SmsSender {
  const { url, secret, clock, log, metrics } = options;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ""))
    throw new Error("The address of the SMS gateway must be an http:// or https:// URL.");
  const attempts = metrics.counter(
    "lucky_sms_attempts_total",
    "Attempts to pass a message to the gateway.",
    ["outcome"],
  );
  const closing = new AbortController();
  const sending = new Set<Promise<void>>();

  /** A signal that aborts after a delay, measured by the clock. */
  function timeoutSignal(ms: number): { signal: AbortSignal; stop(): void } {
    const timeout = new AbortController();
    const timer = clock.after(ms, () => timeout.abort());
    return { signal: timeout.signal, stop: () => timer.stop() };
  }

  async function attempt(body: string, timeoutMs: number, signal: AbortSignal): Promise<Outcome> {
    const time = String(clock.now());
    const headers = {
      "content-type": "application/json",
      [SMS_TIME_HEADER]: time,
      [SMS_SIGNATURE_HEADER]: signSms(secret, time, body),
    };
    const timeout = timeoutSignal(timeoutMs);
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers,
        body,
        redirect: "manual",
        signal: AbortSignal.any([signal, timeout.signal]),
      });
      await answer.body?.cancel();
      const { status } = answer;
      if (answer.ok) return { kind: "taken" };
      return status >= 500 ? { kind: "failed", status } : { kind: "refused", status };
    } catch {
      return { kind: "failed" };
    } finally {
      timeout.stop();
    }
  }

  async function send(body: string, smsId: string, signal: AbortSignal): Promise<void> {
    const bounds = options.bounds();
    const budget = timeoutSignal(bounds.budgetMs);
    const ending = AbortSignal.any([signal, budget.signal]);
    const stopping = AbortSignal.any([ending, closing.signal]);
    try {
      for (let n = 1; ; n++) {
        const outcome = await attempt(body, bounds.timeoutMs, ending);
        attempts.inc({ outcome: outcome.kind });
        if (outcome.kind === "taken") return;
        log.warn({ event: "sms_attempt_failed", smsId, attempt: n, ...outcome });
        const retry = outcome.kind === "failed" && n < bounds.attempts && !stopping.aborted;
        if (retry) await pause(clock, FIRST_BACKOFF_MS * 2 ** (n - 1), stopping);
        if (!retry || stopping.aborted)
          throw fail(ErrorReason.SMS_NOT_SENT, "the SMS gateway did not accept the message");
      }
    } finally {
      budget.stop();
    }
  }

  return {
    async send({ phone, text, smsId }, signal) {
      const body = JSON.stringify({ phone, text, smsId });
      const work = send(body, smsId, signal).finally(() => sending.delete(work));
      sending.add(work);
      await work;
    },
    // Attempts in flight may still succeed; there are no further retries.
    async close() {
      closing.abort();
      await Promise.allSettled(sending);
    },
  };
}
