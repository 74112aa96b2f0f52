import { create, toBinary } from "@bufbuild/protobuf";
import { ListEntriesRequestSchema, MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { text } from "../../../test/world/people.ts";
import type { Attack } from "../target/attack.ts";
import { clientAt, logIn, registerUsers } from "../target/attack-user.ts";
import { inParallel } from "../target/loops.ts";
import { keepPosting } from "../target/posts.ts";

const CALLS = 16;
/** Messages of 10,000 characters: more than the 1 MiB of a page. */
const MESSAGES = 110;
const CHARACTERS = 10_000;
const PAGE_SIZE = 500;

export const brotliPages: Attack = {
  name: "brotli-pages",
  summary: `one user has ${CALLS} calls in flight for pages of 1 MiB, compressed by brotli`,
  async prepare(target) {
    const [user, other] = await registerUsers(target, 2);
    const token = await logIn(target, user!);
    const messages = clientAt(target, "127.0.4.1", { service: MessageService, token });
    let conversationId = "";
    for (let nth = 0; nth < MESSAGES; nth++) {
      const { accepted } = await messages.send({
        target: { case: "userId", value: other!.userId },
        clientMessageId: `page-${nth}`,
        content: text(words(nth)),
      });
      conversationId = accepted!.conversationId;
    }
    const request = toBinary(
      ListEntriesRequestSchema,
      create(ListEntriesRequestSchema, {
        conversationId,
        position: { case: "afterSequence", value: 0n },
        pageSize: PAGE_SIZE,
      }),
    );
    return (signal) =>
      inParallel(CALLS, () =>
        keepPosting(target, signal, {
          method: `${MessageService.typeName}/ListEntries`,
          token,
          request,
          headers: { "Accept-Encoding": "br" },
        }),
      );
  },
};

/** Varied text that takes a compressor work. */
function words(seed: number): string {
  let state = seed + 1;
  let all = "";
  while (all.length < CHARACTERS) {
    state = (state * 48_271) % 2_147_483_647;
    all += `${(state % 50_000).toString(36)} `;
  }
  return all.slice(0, CHARACTERS);
}
