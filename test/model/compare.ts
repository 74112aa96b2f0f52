import assert from "node:assert/strict";
import type { Device } from "./device.ts";
import { DeviceLog, readEntry, type ShownMessage } from "./device-log.ts";
import { isMessage, type ModelEntry, shownState, shownText } from "./message-state.ts";
import { isTip, type Model, type View } from "./model.ts";
import type { System } from "./system.ts";

/** Fails unless an online device has all entries that its user may see. */
export function mustHaveAll(device: Device, model: Model): void {
  for (const { conversationId, last } of model.viewsOf(device.user))
    assert.ok(
      device.endOf(conversationId) >= last,
      `${device.name} is online, and has ${conversationId} only up to ${device.endOf(conversationId)} of ${last}`,
    );
}

/** Fails unless a device shows what the model says. */
export function compareDevice(device: Device, model: Model): void {
  const views = model.viewsOf(device.user);
  const { name, user } = device;
  const seen = device.views.map((view) => withoutCounts(view));
  assert.deepEqual(seen, views.map(withoutCounts), `the conversations of ${name}`);
  for (const [at, view] of views.entries()) {
    const { first, last, conversationId, member } = view;
    // A former member may not hear of recalls after leaving, which lower the counts.
    if (member) assert.deepEqual(device.views[at], view, `${conversationId} on ${name}`);
    const log = device.logOf(view);
    const entries = model.entriesOf(view);
    // A device keeps messages that its user deleted on another device. The device of a former member also keeps
    // messages that were recalled after the user left.
    const hidden = new Set(entries.filter((entry) => isHidden(entry, view, user)).map(sequenceOf));
    if (!log.jumped)
      assert.deepEqual(
        log.range(first, last).map((entry) => lineOf(entry, entries, hidden)),
        entries.map((entry) => lineOf(entry, entries, hidden)),
        `the log of ${conversationId} on ${name}`,
      );
    assert.deepEqual(
      log
        .shown(first, last)
        .filter(({ sequence }) => !hidden.has(sequence))
        .map((message) => (member ? message : { ...message, state: "" })),
      messagesOf(entries, view).filter(({ sequence }) => !hidden.has(sequence)),
      `the messages of ${conversationId} on ${name}`,
    );
  }
}

const sequenceOf = ({ sequence }: { sequence: number }) => sequence;

const withoutCounts = (view: View) => ({ ...view, unread: 0, mentions: 0 });

function isHidden({ state, deletedFor }: ModelEntry, { member }: View, user: string): boolean {
  return deletedFor.has(user) || (!member && state?.recalledBy !== undefined);
}

/** An entry of a log without the content of messages. An edit may have been read before the next one. */
function lineOf(
  { sequence, sender, key, text }: Pick<ModelEntry, "sequence" | "sender" | "key" | "text">,
  model: readonly ModelEntry[],
  hidden: ReadonlySet<number>,
) {
  // The log does not tell the text of an edit of a message that the user deleted; a delivery does.
  const [edit, target] = /^change: edit (\d+)/.exec(text) ?? [];
  if (edit !== undefined && hidden.has(Number(target)))
    return { sequence, sender, key, text: edit };
  const now = model.find((entry) => entry.sequence === sequence);
  const isMessage = now?.state !== undefined;
  const isSuperseded = now !== undefined && text.startsWith(`${now.text} to `);
  return { sequence, sender, key, text: isMessage ? "" : isSuperseded ? now.text : text };
}

/** The messages of a view as they are shown; of a former member's only the texts. */
function messagesOf(entries: readonly ModelEntry[], { member, last }: View): ShownMessage[] {
  return entries.filter(isMessage).map((entry) => ({
    sequence: entry.sequence,
    text: shownText(entry, member ? 0 : last),
    state: member ? shownState(entry.state!) : "",
  }));
}

/** Fails unless HistoryService shows each user what the model says. */
export async function compareHistory(
  system: System,
  { model, users }: { model: Model; users: readonly string[] },
): Promise<void> {
  for (const user of users)
    for (const view of model.viewsOf(user)) {
      const { conversationId } = view;
      const seen = new DeviceLog(user);
      const mine: string[] = [];
      for (let before = 9_007_199_254_740_991n; before > 0n; ) {
        const page = await system.call(system.server(0), (running) =>
          running.history(user).listMessages({
            conversationId,
            position: { case: "beforeSequence", value: before },
            pageSize: 4,
          }),
        );
        for (const entry of page.messages) {
          seen.add(readEntry(entry));
          for (const emoji of entry.state?.myReactions ?? [])
            mine.push(`${entry.sequence}${emoji}`);
        }
        before = page.olderBeforeSequence;
      }
      const entries = model.entriesOf(view).filter(({ deletedFor }) => !deletedFor.has(user));
      assert.deepEqual(
        seen.shown(view.first, view.last).map((m) => (view.member ? m : { ...m, state: "" })),
        messagesOf(entries, view),
        `the messages of ${conversationId} for ${user}`,
      );
      const own = entries.flatMap(({ sequence, state }) =>
        [...(state?.reactions ?? [])]
          .filter(([, who]) => who.has(user))
          .map(([emoji]) => `${sequence}${emoji}`),
      );
      if (view.member) assert.deepEqual(mine.sort(), own.sort(), `the reactions of ${user}`);
      const lines = seen.range(view.first, view.last).length;
      assert.equal(lines, entries.filter((entry) => entry.state || isTip(entry)).length);
    }
}

/** Fails unless the servers know the receipts of all groups. */
export async function compareReceipts(system: System, model: Model): Promise<void> {
  for (const conversationId of model.groupIds) {
    const asked = model.ownerOf(conversationId);
    const { receipts } = await system.call(system.server(0), (running) =>
      running.messages(asked).listReceipts({ conversationId }),
    );
    const seen = receipts.map(({ userId: user, deliveredSequence, readSequence }) => ({
      user,
      delivered: Number(deliveredSequence),
      read: Number(readSequence),
    }));
    assert.deepEqual(seen, model.receiptsOf(conversationId), "the receipts of a group");
  }
}
