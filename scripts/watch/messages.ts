import { average, type Dashboard, durations, perSecond, sum } from "./panels.ts";

/** A message on its way: into the log, to the bus, to the devices. */
export const messages: Dashboard = {
  name: "lucky-messages",
  title: "Lucky: messages",
  rows: {
    "From the device into the log": [
      {
        title: "Sends",
        description: "Sends by outcome. Alert: LuckySendsRefused.",
        unit: "ops",
        curves: {
          "{{outcome}}": perSecond("lucky_append_sends_total", ["outcome"]),
          "refused, queue full": perSecond("lucky_append_overloaded_total"),
        },
      },
      {
        title: "Append",
        description: "Duration of an append, which is one transaction. Alert: LuckyAppendSlow.",
        unit: "s",
        curves: durations("lucky_append_seconds"),
      },
      {
        title: "Batches",
        description: "Average messages in an append and sends in a batch of connect.",
        unit: "short",
        curves: {
          "messages in an append": average("lucky_append_batch_messages"),
          "sends in a batch": average("lucky_uplink_batch_sends"),
        },
      },
    ],
    "From the log to the devices": [
      {
        title: "Outbox",
        description: "Committed batches that wait for their publication.",
        unit: "short",
        curves: {
          "in the outbox": "max(lucky_outbox_pending)",
          "in flight to the bus": sum("lucky_relay_waiting"),
        },
      },
      {
        title: "Age of the outbox",
        description: "How long the oldest batch has waited. Alert: LuckyOutboxOld.",
        unit: "s",
        curves: { "oldest batch": "max(lucky_outbox_oldest_seconds)" },
      },
      {
        title: "Publications",
        description: "Batches by outcome, and envelopes by the answer of the bus.",
        unit: "ops",
        curves: {
          "batches {{outcome}}": perSecond("lucky_relay_batches_total", ["outcome"]),
          "envelopes {{outcome}}": perSecond("lucky_relay_publishes_total", ["outcome"]),
        },
      },
    ],
    "At the devices": [
      {
        title: "Deliveries",
        description: "Entries delivered to sessions, and redeliveries. Alert: LuckyRedeliveries.",
        unit: "ops",
        curves: {
          deliveries: perSecond("lucky_deliveries_total"),
          redeliveries: perSecond("lucky_redeliveries_total"),
        },
      },
      {
        title: "Devices behind",
        description:
          "Sessions that stopped acknowledging, and entries reported as undelivered. Alert: LuckyUndelivered.",
        unit: "ops",
        curves: {
          "sessions behind": perSecond("lucky_sessions_behind_total"),
          undelivered: perSecond("lucky_undelivered_total"),
        },
      },
      {
        title: "Lost pushes",
        description:
          "Conversations that the sweep found, dead letters and abandoned batches in an hour. Alerts: LuckySweepFoundMissedEntries, LuckyDeadLetters, LuckyBatchAbandoned.",
        unit: "short",
        curves: {
          "found by the sweep": sum("increase(lucky_sweep_missed_total[1h])"),
          "dead letters": sum("increase(lucky_dead_letters_total[1h])"),
          "abandoned batches": sum("increase(lucky_outbox_failed_total[1h])"),
        },
      },
    ],
  },
};
