import { createHmac } from "node:crypto";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { SmsSender } from "./sms.ts";

export interface HttpSmsOptions {
  /** Where to post to: http:// or https://. */
  readonly url: string;
  /** Signs the requests: HMAC-SHA256 over time and body. */
  readonly secret: string;
  /** How long one attempt may take, milliseconds. */
  readonly timeoutMs: number;
  /** Attempts for one message, at most. */
  readonly attempts: number;
  /** How long all attempts for one message may take together, milliseconds. */
  readonly budgetMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** When the request was made, milliseconds since the Unix epoch, decimal. */
export const SMS_TIME_HEADER = "lucky-sms-time";
/** HMAC-SHA256 of `<time>.<body>` under the secret, hexadecimal. */
export const SMS_SIGNATURE_HEADER = "lucky-sms-signature";

const FIRST_PAUSE_MS = 100;

/** How one attempt ended. */
type Outcome =
  | { readonly kind: "taken" }
  /** The gateway does not want it: again would be the same. */
  | { readonly kind: "refused"; readonly status: number }
  | { readonly kind: "failed"; readonly status?: number };

/** What the gateway finds in `lucky-sms-signature`. */
export function signSms(secret: string, time: string, body: string): string {
  return createHmac("sha256", secret).update(`${time}.${body}`).digest("hex");
}

/**
 * Posts messages to a gateway of the operator's choice, as JSON {phone, text, smsId}. Any 2xx means
 * that it took the message. A 5xx, a broken connection or no answer in time is tried again under the
 * same smsId, as long as attempts and budget last; any other answer is final.
 */
export function createHttpSms(options: HttpSmsOptions): SmsSender {
  const { url, secret, timeoutMs, clock, log, metrics } = options;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? ""))
    throw new Error("The address of the SMS gateway must be an http:// or https:// URL.");
  const attempts = metrics.counter("lucky_sms_attempts_total", "Attempts to hand a message over.", [
    "outcome",
  ]);
  const closing = new AbortController();
  const sending = new Set<Promise<void>>();

  /** An aborted signal after a time of the clock. */
  function within(ms: number): { signal: AbortSignal; stop(): void } {
    const late = new AbortController();
    const timer = clock.after(ms, () => late.abort());
    return { signal: late.signal, stop: () => timer.stop() };
  }

  async function attempt(body: string, signal: AbortSignal): Promise<Outcome> {
    const time = String(clock.now());
    const headers = {
      "content-type": "application/json",
      [SMS_TIME_HEADER]: time,
      [SMS_SIGNATURE_HEADER]: signSms(secret, time, body),
    };
    const late = within(timeoutMs);
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers,
        body,
        redirect: "manual",
        signal: AbortSignal.any([signal, late.signal]),
      });
      await answer.body?.cancel();
      const { status } = answer;
      if (answer.ok) return { kind: "taken" };
      return status >= 500 ? { kind: "failed", status } : { kind: "refused", status };
    } catch {
      return { kind: "failed" };
    } finally {
      late.stop();
    }
  }

  /** Waits before another attempt; shorter when the signal aborts. */
  async function pause(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = clock.after(ms, resolve);
    signal.addEventListener("abort", () => resolve(), { once: true });
    await promise;
    timer.stop();
  }

  async function send(body: string, smsId: string, signal: AbortSignal): Promise<void> {
    const budget = within(options.budgetMs);
    const ending = AbortSignal.any([signal, budget.signal]);
    const stopping = AbortSignal.any([ending, closing.signal]);
    try {
      for (let n = 1; ; n++) {
        const outcome = await attempt(body, ending);
        attempts.inc({ outcome: outcome.kind });
        if (outcome.kind === "taken") return;
        log.warn({ event: "sms_attempt_failed", smsId, attempt: n, ...outcome });
        const again = outcome.kind === "failed" && n < options.attempts && !stopping.aborted;
        if (again) await pause(FIRST_PAUSE_MS * 2 ** (n - 1), stopping);
        if (!again || stopping.aborted)
          throw fail(ErrorReason.SMS_NOT_SENT, "the message could not be handed over for sending");
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
    // What is on its way may arrive; nothing is tried again.
    async close() {
      closing.abort();
      await Promise.allSettled(sending);
    },
  };
}
