import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { SMS_SIGNATURE_HEADER, SMS_TIME_HEADER, signSms } from "#platform/sms/http.ts";
import type { Sms } from "#platform/sms/sms.ts";

/** Phones of a test: a gateway that the HTTP sender posts to, embedded and on the mesh. */
export interface Phones {
  /** LUCKY_… settings that make a Lucky send here. */
  readonly settings: Readonly<Record<string, string>>;
  /** What arrived, the oldest first. */
  readonly arrived: readonly Sms[];
  /** The code in the next message to the number that nobody asked for yet; waits for it. */
  codeTo(phone: string): Promise<string>;
  /** From now on answers with these statuses, or not at all, then with 200 again. */
  answerWith(...answers: (number | "silence")[]): void;
  /** Resolves when the next message comes that is not answered. */
  silence(): Promise<void>;
}

interface Ending {
  after(close: () => Promise<void>): void;
}

const SECRET = "a secret of tests, long enough";
const PATIENCE_MS = 60_000;

/** Starts the gateway; it refuses what is not signed. */
export async function startPhones(t: Ending): Promise<Phones> {
  const arrived: Sms[] = [];
  const unread: Sms[] = [];
  const waiting = new Set<() => void>();
  let silence = Promise.withResolvers<void>();
  let answers: (number | "silence")[] = [];

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const time = String(request.headers[SMS_TIME_HEADER]);
    const signed = request.headers[SMS_SIGNATURE_HEADER] === signSms(SECRET, time, body);
    const status = signed ? (answers.shift() ?? 200) : 403;
    if (status === "silence") {
      silence.resolve();
      silence = Promise.withResolvers();
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
    async codeTo(phone) {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      signal.addEventListener("abort", () => {
        for (const wake of waiting) wake();
      });
      for (;;) {
        const place = unread.findIndex((sms) => sms.phone === phone);
        const [sms] = place < 0 ? [] : unread.splice(place, 1);
        if (sms) return codeOf(sms);
        if (signal.aborted) throw new Error(`no message to ${phone} in ${PATIENCE_MS} ms`);
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    },
    answerWith(...next) {
      answers = next;
    },
    silence: () => silence.promise,
  };
}

/** The code in a message. */
export function codeOf({ text }: Sms): string {
  const [code] = /\b\d{6}\b/.exec(text) ?? [];
  assert.ok(code, `no code in "${text}"`);
  return code;
}

/** A number that nobody else in the test has: German mobile ones, as their plan writes them. */
export const randomPhoneNumber = (): string =>
  `+491511${String(randomInt(10_000_000)).padStart(7, "0")}`;
