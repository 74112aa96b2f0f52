import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { ChangeService } from "#gen/lucky/message/v1/change_pb.js";
import type { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { HistoryService } from "#gen/lucky/message/v1/history_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { clientOf, type Person, people, type Reachable, text } from "./people.ts";
import { queryLogs, type World } from "./world.ts";

/** A user with clients of the services for messages. */
export interface Member {
  readonly userId: string;
  readonly person: Person;
  readonly token: string;
  readonly messages: Client<typeof MessageService>;
  readonly changes: Client<typeof ChangeService>;
  readonly history: Client<typeof HistoryService>;
  readonly conversations: Client<typeof ConversationService>;
  readonly groups: Client<typeof GroupService>;
}

/** Registers people and logs each of them in. */
export async function members(world: Reachable, ...names: string[]): Promise<Member[]> {
  return Promise.all((await people(world, ...names)).map((person) => memberOf(world, person)));
}

/** Logs a person in. */
export async function memberOf(world: Reachable, person: Person): Promise<Member> {
  const { accessToken: token } = await person.login();
  const { url } = world;
  return {
    userId: person.userId,
    person,
    token,
    messages: clientOf(url, MessageService, token),
    changes: clientOf(url, ChangeService, token),
    history: clientOf(url, HistoryService, token),
    conversations: clientOf(url, ConversationService, token),
    groups: clientOf(url, GroupService, token),
  };
}

/** Creates a group of the first member with the others; returns its conversation. */
export async function groupOf([owner, ...others]: readonly Member[]): Promise<string> {
  const userIds = others.map(({ userId }) => userId);
  const { group } = await owner!.groups.createGroup({ name: "g", userIds });
  return group!.groupId;
}

/** Makes a member an admin, behind the back of the server: there is no method for it yet. */
export async function makeAdmin(world: World, conversationId: string, userId: string) {
  await queryLogs(
    world,
    "UPDATE im.member SET role = 2 WHERE conversation_id = $1 AND user_id = $2",
    [conversationId, userId],
  );
  await queryLogs(
    world,
    "UPDATE im.conversation SET member_version = member_version + 1 WHERE conversation_id = $1",
    [conversationId],
  );
}

/** Fields of a send beside its content. */
export interface SendFields {
  readonly clientMessageId?: string;
  readonly replyToSequence?: bigint;
  readonly mentionedUserIds?: string[];
  readonly mentionAll?: boolean;
  readonly extra?: Record<string, string>;
  readonly silent?: boolean;
}

/** Sends a text, or another content; returns its sequence. */
export async function say(
  { messages }: Member,
  conversationId: string,
  content: string | MessageInitShape<typeof ContentSchema>,
  more: SendFields = {},
): Promise<bigint> {
  const { accepted } = await messages.send({
    target: { case: "conversationId", value: conversationId },
    clientMessageId: randomUUID(),
    content: typeof content === "string" ? text(content) : content,
    ...more,
  });
  return accepted!.sequence;
}

/** All messages of a conversation as a member sees them, oldest first. */
export async function messagesOf({ history }: Member, conversationId: string): Promise<Entry[]> {
  const messages: Entry[] = [];
  for (let after = 0n; ; ) {
    const page = await history.listMessages({
      conversationId,
      position: { case: "afterSequence", value: after },
      pageSize: 100,
    });
    messages.push(...page.messages);
    if (!page.hasNewer) return messages;
    after = page.newerAfterSequence;
  }
}

/** One message as a member sees it; undefined when there is none for the member. */
export async function messageAt(
  { history }: Member,
  conversationId: string,
  sequence: bigint,
): Promise<Entry | undefined> {
  const { messages } = await history.getMessages({ conversationId, sequences: [sequence] });
  return messages[0];
}

/** The text of a message; its kind in parentheses for another kind. */
export function shownText(entry: Entry | undefined): string {
  const kind = entry?.content?.kind;
  return kind?.case === "text" ? kind.value.text : `(${kind?.case})`;
}
