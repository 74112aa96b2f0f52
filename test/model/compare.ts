import assert from "node:assert/strict";
import type { Device } from "./device.ts";
import type { Model } from "./model.ts";
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
  assert.deepEqual(device.views, views, `the conversations of ${device.name}`);
  for (const view of views)
    assert.deepEqual(
      device.entriesOf(view),
      model.entriesOf(view),
      `the log of ${view.conversationId} on ${device.name}`,
    );
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
