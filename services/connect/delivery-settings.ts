import { setting } from "#platform/config/config.ts";

/** Settings of connect for entries that a device has not acknowledged. */
export const deliverySettings = {
  ackTimeoutMs: setting.integer({
    live: true,
    default: 10_000,
    min: 100,
    max: 300_000,
    unit: "ms",
    doc: "Time-out for the acknowledgement of delivered entries; then the entries are redelivered. Devices wait 0.6 s between two acknowledgements of a busy conversation, so keep it well above that.",
    tuning: true,
  }),
  redeliveries: setting.integer({
    live: true,
    default: 3,
    min: 0,
    max: 20,
    unit: "times",
    doc: "Maximum redeliveries of entries, with doubling back-off; then the session counts as behind, and the device has to sync.",
    tuning: true,
  }),
  redeliveryEntries: setting.integer({
    live: true,
    default: 100,
    min: 1,
    max: 500,
    unit: "entries",
    doc: "Maximum entries of one conversation in one redelivery.",
    tuning: true,
  }),
  trackedConversations: setting.integer({
    default: 256,
    min: 8,
    max: 65_536,
    unit: "conversations",
    doc: "Maximum direct conversations with a cached cursor per session. Beyond it the least recently used cursor is evicted, and the sweep covers that conversation.",
    tuning: true,
  }),
  sweepIntervalMs: setting.integer({
    default: 25_000,
    min: 100,
    max: 600_000,
    unit: "ms",
    doc: "Interval at which the sweep queries the log for entries that were not delivered.",
    tuning: true,
  }),
  sweepGraceMs: setting.integer({
    live: true,
    default: 3_000,
    min: 0,
    max: 60_000,
    unit: "ms",
    doc: "Time for which a missing delivery may still be in transit before the sweep notifies the device.",
    tuning: true,
  }),
};
