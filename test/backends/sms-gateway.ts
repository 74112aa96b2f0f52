import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { SMS_SIGNATURE_HEADER, SMS_TIME_HEADER, signSms } from "#platform/sms/http.ts";
import type { Sms } from "#platform/sms/sms.ts";
import type { Teardown } from "./teardown.ts";

/** A fake SMS gateway over HTTP. It serves an embedded system and a mesh alike. */
export interface SmsGateway {
  /** LUCKY_… settings that make a system send its messages to this gateway. */
  readonly settings: Readonly<Record<string, string>>;
  /** Messages received so far, oldest first. */
  readonly arrived: readonly Sms[];
  /** Takes the code from the oldest unread message to the number. Waits at most 60 s for one. */
  codeSentTo(phone: string): Promise<string>;
  /** Answers the next requests with these HTTP statuses, or with none; later ones with 200. */
  answerWith(...answers: (number | "no answer")[]): void;
  /** Resolves when the next request arrives that gets no answer. */
  nextUnanswered(): Promise<void>;
}

const SECRET = "a secret of tests, long enough";
const WAIT_TIMEOUT_MS = 60_000;

/** Starts the gateway. It answers 403 to a message without a valid signature. */
export async function startSmsGateway(t: Teardown): Promise<SmsGateway> {
  const arrived: Sms[] = [];
  const unread: Sms[] = [];
  const waiting = new Set<() => void>();
  let unanswered = Promise.withResolvers<void>();
  let answers: (number | "no answer")[] = [];

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const time = String(request.headers[SMS_TIME_HEADER]);
    const signed = request.headers[SMS_SIGNATURE_HEADER] === signSms(SECRET, time, body);
    const status = signed ? (answers.shift() ?? 200) : 403;
    if (status === "no answer") {
      unanswered.resolve();
      unanswered = Promise.withResolvers();
      return;
    }
    if (status === 200) {
      const sms: Sms = JSON.parse(body);
      arrived.push(sms);
      unread.push(sms);
      for (const wake of waiting) wake();
      waiting.clear();
    }
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  return {
    settings: {
      LUCKY_AUTH_SMS_SENDER: "http",
      LUCKY_AUTH_SMS_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/send`,
      LUCKY_AUTH_SMS_SECRET: SECRET,
      LUCKY_AUTH_SMS_RESEND_SECONDS: "0",
      LUCKY_AUTH_SMS_PER_ADDRESS_PER_HOUR: "100000",
    },
    arrived,
    async codeSentTo(phone) {
      const signal = AbortSignal.timeout(WAIT_TIMEOUT_MS);
      signal.addEventListener("abort", () => {
        for (const wake of waiting) wake();
      });
      for (;;) {
        const at = unread.findIndex((sms) => sms.phone === phone);
        const [sms] = at < 0 ? [] : unread.splice(at, 1);
        if (sms) return codeOf(sms);
        if (signal.aborted) throw new Error(`no message to ${phone} in ${WAIT_TIMEOUT_MS} ms`);
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    },
    answerWith(...next) {
      answers = next;
    },
    nextUnanswered: () => unanswered.promise,
  };
}

/** The code in a message. */
export function codeOf({ text }: Sms): string {
  const [code] = /\b\d{6}\b/.exec(text) ?? [];
  assert.ok(code, `no code in "${text}"`);
  return code;
}

/** A random number of the German mobile numbering plan, in E.164 form. */
export const randomPhoneNumber = (): string =>
  `+491511${String(randomInt(10_000_000)).padStart(7, "0")}`;
