import assert from "node:assert/strict";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, people, text } from "../world/people.ts";
import { Finding } from "./finding.ts";
import type { Target } from "./target.ts";

/** Two users who keep talking during the attack, each over one session that must not end. */
export interface Canary {
  /** A message and its delivery, and a call. Throws a Finding. */
  exchange(): Promise<void>;
  close(): Promise<void>;
}

export async function startCanary({ url }: Target): Promise<Canary> {
  const [ana, ben] = await people({ url }, "ana", "ben");
  const [tokens, others] = await Promise.all([ana!.login(), ben!.login()]);
  const from = await RawDevice.hello(url, tokens.accessToken);
  const to = await RawDevice.hello(url, others.accessToken);
  const users = clientOf(url, UserService, tokens.accessToken);
  let sent = 0;

  async function talk(): Promise<void> {
    sent += 1;
    const clientMessageId = `canary-${sent}`;
    const target = { case: "userId" as const, value: ben!.userId };
    from.send({ case: "send", value: { target, clientMessageId, content: text(clientMessageId) } });
    const { results } = await from.next("sendResults");
    assert.equal(results[0]?.outcome.case, "accepted");
    const { entries } = await to.next("deliver");
    const [entry] = entries;
    assert.equal(entry?.clientMessageId, clientMessageId);
    const { conversationId, sequence } = entry;
    const cursors = [{ conversationId, deliveredSequence: sequence }];
    to.send({ case: "acknowledge", value: { cursors } });
    await from.roundTrip();
    await to.roundTrip();
    await users.getUser({ key: { case: "userId", value: ben!.userId } });
  }

  return {
    async exchange() {
      await talk().catch((cause: Error) => {
        throw new Finding(`the canary's session is disturbed: ${cause.message}`, { cause });
      });
    },
    async close() {
      await Promise.all([from.close(), to.close()]);
    },
  };
}
