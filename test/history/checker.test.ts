import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkHistory } from "./checker.ts";
import type { EntryEvent, HistoryEvent, QuietEvent } from "./events.ts";
import { History } from "./history.ts";

/** Ana (1) and Ben (2) in the direct conversation 7, Cleo (3) with them in the group 8. */
const CLIENTS = [
  { client: "ana", user: "1" },
  { client: "ben", user: "2" },
  { client: "cleo", user: "3" },
];
const quiet: QuietEvent = { kind: "quiet", clients: CLIENTS };
const userOf = (client: string) => CLIENTS.find((one) => one.client === client)!.user;

/** A send with its operation number. */
function send(op: number, client: string, key: string, hash = key): HistoryEvent {
  const to = client === "cleo" ? { conversation: "8" } : { user: client === "ana" ? "2" : "1" };
  return { kind: "send", op, client, user: userOf(client), to, key, hash };
}

function accepted(op: number, sequence: number, conversation = "7"): HistoryEvent {
  const message = `${conversation}${sequence}`;
  return { kind: "sent", op, outcome: "accepted", conversation, sequence, message };
}

const refused = (op: number): HistoryEvent => ({
  kind: "sent",
  op,
  outcome: "refused",
  reason: "NOT_A_MEMBER",
});

/** A client shows an entry of the direct conversation. */
function entry(
  client: string,
  sequence: number,
  sender: string,
  key: string,
  more: Partial<EntryEvent> = {},
): EntryEvent {
  const conversation = more.conversation ?? "7";
  return {
    kind: "entry",
    client,
    user: userOf(client),
    conversation,
    sequence,
    sender: userOf(sender),
    key,
    message: `${conversation}${sequence}`,
    hash: key,
    via: "page",
    ...more,
  };
}

/** A client shows a tip of the group: users joined or left. */
const tip = (client: string, sequence: number, change: Partial<EntryEvent>) =>
  entry(client, sequence, "ana", "", { conversation: "8", hash: `tip ${sequence}`, ...change });

/** Ana sends a and b, Ben sends c; both clients have everything. */
const GOOD: HistoryEvent[] = [
  send(1, "ana", "a"),
  accepted(1, 1),
  send(2, "ana", "b"),
  { kind: "sent", op: 2, outcome: "unknown" },
  send(3, "ben", "c"),
  send(4, "ana", "b"),
  accepted(3, 3),
  accepted(4, 2),
  ...["ana", "ben"].flatMap((client) => [
    entry(client, 1, "ana", "a"),
    entry(client, 2, "ana", "b"),
    entry(client, 3, "ben", "c"),
  ]),
  { kind: "cursor", client: "ana", user: "1", cursor: "x.1", more: false },
  quiet,
];

/** Cleo joins the group at 2, leaves at 4, and joins again at 6. */
const GROUP: HistoryEvent[] = [
  ...["ana", "ben", "cleo"].flatMap((client) => {
    const log = [
      tip(client, 1, { joined: ["1", "2"] }),
      tip(client, 2, { joined: ["3"] }),
      tip(client, 3, {}),
      tip(client, 4, { left: ["3"] }),
      tip(client, 5, {}),
      tip(client, 6, { joined: ["3"] }),
    ];
    return client === "cleo" ? log.filter(({ sequence }) => ![1, 5].includes(sequence)) : log;
  }),
  quiet,
];

/** The events without those that match. */
const without = (events: HistoryEvent[], match: Partial<EntryEvent>) =>
  events.filter((event) =>
    Object.entries(match).some(
      ([name, value]) => (event as unknown as Record<string, unknown>)[name] !== value,
    ),
  );

test("a history that keeps all promises has no finding", () => {
  assert.deepEqual(checkHistory(GOOD), []);
  assert.deepEqual(checkHistory(GROUP), []);
});

const bad: [promise: string, events: HistoryEvent[], finds: RegExp[]][] = [
  [
    "an acknowledged send that no client has is lost",
    [...GOOD.slice(0, -1), send(5, "ben", "d"), accepted(5, 4), quiet],
    [/^loss: ana lacks 7\/4$/, /^loss: ben lacks 7\/4$/],
  ],
  [
    "an entry that one client lacks at the end is lost",
    without(GOOD, { kind: "entry", client: "ben", sequence: 3 }),
    [/^loss: ben lacks 7\/3$/],
  ],
  [
    "an entry that one client lacks in between is a gap",
    without(GOOD, { kind: "entry", client: "ben", sequence: 2 }),
    [/^gap: ben lacks 7\/2$/],
  ],
  [
    "a repeated send that was accepted twice is a duplicate",
    [...GOOD.slice(0, 6), accepted(4, 2), send(5, "ana", "b"), accepted(5, 3)],
    [/^duplicate: the key b of 1 is at 7\/2 and 7\/3$/],
  ],
  [
    "a message id at two positions is a duplicate",
    [...GOOD, entry("ana", 4, "ben", "", { message: "71" })],
    [/^duplicate: message 71 is at 7\/1 and 7\/4$/],
  ],
  [
    "an entry that a client shows twice is a duplicate",
    [...GOOD, entry("ben", 2, "ana", "b")],
    [/^duplicate: ben shows 7\/2 twice$/],
  ],
  [
    "two orders on two devices",
    GOOD.map((event) =>
      event.kind === "entry" && event.client === "ben" && event.sequence < 3
        ? entry("ben", 3 - event.sequence, "ana", event.key, { message: event.message })
        : event,
    ),
    [/^order: at 7\/2 are /, /^order: at 7\/1 are /],
  ],
  [
    "content that differs from the accepted send",
    GOOD.map((event) =>
      event.kind === "entry" && event.sequence === 1 ? { ...event, hash: "z" } : event,
    ),
    [/^order: at 7\/1 are /, /^order: at 7\/1 are /],
  ],
  [
    "a refused send in the log",
    [
      send(1, "ana", "a"),
      refused(1),
      entry("ana", 1, "ana", "a"),
      { kind: "conversation", client: "ana", user: "1", conversation: "7", peer: "2" },
      { kind: "quiet", clients: CLIENTS.slice(0, 1) },
    ],
    [/^phantom: 7\/1 has message 71 of 1 /],
  ],
  [
    "a message that nobody sent",
    [...GOOD.slice(0, -1), ...["ana", "ben"].map((c) => entry(c, 4, "ben", "d")), quiet],
    [/^phantom: 7\/4 has message 74 of 2 /],
  ],
  [
    "a direct message at a third user",
    [...GOOD.slice(0, -1), entry("cleo", 1, "ana", "a"), quiet],
    [/^membership: cleo of 3 shows 7\/1 from outside$/],
  ],
  [
    "an entry of the group from before the join",
    [...GROUP.slice(0, -1), tip("cleo", 1, {}), quiet],
    [/^membership: cleo of 3 shows 8\/1 from outside$/],
  ],
  [
    "an entry of the group from between two memberships",
    [...GROUP.slice(0, -1), tip("cleo", 5, { via: "push" }), quiet],
    [/^membership: cleo of 3 shows 8\/5 from outside$/],
  ],
  [
    "an entry of the group that a member lacks since joining again",
    without(GROUP, { kind: "entry", client: "cleo", sequence: 6 }),
    [/^loss: cleo lacks 8\/6$/],
  ],
];

for (const [promise, events, finds] of bad) {
  test(`the checker finds ${promise}`, () => {
    const findings = checkHistory(events);
    assert.equal(findings.length, finds.length, findings.join("\n"));
    for (const [at, expected] of finds.entries()) assert.match(findings[at]!, expected);
  });
}

test("a push from outside the membership is tolerated while deliveries are lost, a page is not", () => {
  const fault: HistoryEvent = { kind: "fault", name: "bus" };
  const before = GROUP.slice(0, -1);
  assert.deepEqual(checkHistory([fault, ...before, tip("cleo", 5, { via: "push" }), quiet]), []);
  assert.equal(checkHistory([fault, ...before, tip("cleo", 5, { via: "page" }), quiet]).length, 1);
  const afterRepair = [fault, ...before, quiet, tip("cleo", 5, { via: "push" }), quiet];
  assert.equal(checkHistory(afterRepair).length, 1);
});

test("the command reads a file, prints the findings and fails when there is one", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "lucky-history-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const check = (events: HistoryEvent[]) => {
    const history = new History();
    for (const event of events) history.add(event);
    const file = join(folder, "history.jsonl");
    history.save(file);
    const command = join(import.meta.dirname, "check.ts");
    return spawnSync(process.execPath, [command, file], { encoding: "utf8" });
  };
  const good = check(GOOD);
  assert.equal(good.status, 0, good.stderr);
  assert.match(good.stdout, /no promise is broken/);
  const lost = check(without(GOOD, { kind: "entry", client: "ben", sequence: 3 }));
  assert.equal(lost.status, 1);
  assert.match(lost.stderr, /^✗ loss: ben lacks 7\/3$/m);
});
