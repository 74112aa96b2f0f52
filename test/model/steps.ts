import fc from "fast-check";
import type { MoveStep } from "#platform/buckets/move.ts";

/** One message of a send step. Skipped when its group does not exist. */
export interface Message {
  readonly user: number;
  /** A user, a group, or nobody. */
  readonly to: number;
  /** Repeats an earlier message with its key; null: a new message. */
  readonly again: number | null;
  /** Whether a repeated message has other content. */
  readonly changed: boolean;
  /** A user whom it mentions; null: nobody. */
  readonly mention: number | null;
}

/** A server dies at a query of a send: before PostgreSQL gets it, or before its answer arrives. */
export interface Crash {
  /** Queries before it. */
  readonly after: number;
  readonly executed: boolean;
}

/** A bucket moves to another database during a send. */
export interface Move {
  /** The conversation whose bucket moves: a pair of users, or a group. */
  readonly conversation: number;
  /** Places from its database to the other one, in the ring of databases. */
  readonly by: number;
  /** The messages are sent after this step of the move. */
  readonly during: MoveStep;
  /** The mover is killed, or its connections break, after a step; null: it finishes. */
  readonly death: { readonly after: MoveStep; readonly connections: boolean } | null;
}

/** One step of a run. */
export type Step =
  /**
   * Sends concurrently: in one batch of one server, by RPC to all servers, or by the users' sockets.
   * No server crashes while a bucket moves.
   */
  | {
      readonly kind: "send";
      readonly messages: readonly Message[];
      readonly way: "batch" | "rpc" | "socket";
      readonly server: number;
      readonly crash: Crash | null;
      readonly move: Move | null;
    }
  | {
      readonly kind: "createGroup";
      readonly owner: number;
      readonly users: readonly number[];
      readonly server: number;
    }
  /** `caller` null: the owner. */
  | {
      readonly kind: "addMembers";
      readonly group: number;
      readonly caller: number | null;
      readonly users: readonly number[];
      readonly server: number;
    }
  /** `caller` null: the owner; -1: the user, who leaves. */
  | {
      readonly kind: "removeMember";
      readonly group: number;
      readonly caller: number | null;
      readonly user: number;
      readonly server: number;
    }
  /** A user reads a conversation except for its last entries; a negative number is beyond its end. */
  | {
      readonly kind: "read";
      readonly device: number;
      readonly conversation: number;
      readonly except: number;
      readonly socket: boolean;
    }
  /**
   * A user changes a message: the nth entry from the end of what the user sees of a conversation.
   * `again`: the call is repeated, as after a lost answer.
   */
  | {
      readonly kind: "change";
      readonly user: number;
      readonly conversation: number;
      readonly nth: number;
      readonly what: "edit" | "recall" | "react" | "pin" | "unpin" | "deleteForMe";
      readonly emojis: readonly number[];
      readonly again: boolean;
      readonly server: number;
    }
  | { readonly kind: "connect"; readonly device: number; readonly instance: number }
  | { readonly kind: "disconnect"; readonly device: number }
  /** Reads one page of Sync with the cursor that the device keeps. */
  | { readonly kind: "syncPage"; readonly device: number; readonly limit: number }
  /** The device loses everything, and its cursor. */
  | { readonly kind: "reinstall"; readonly device: number }
  /** "known" and "silent" outages fail publishes; "losing" confirms and drops them. */
  | { readonly kind: "bus"; readonly state: "up" | "known" | "silent" | "losing" }
  | { readonly kind: "registry"; readonly down: boolean }
  /** Resumes a move that was killed. */
  | { readonly kind: "resume" }
  /** The servers cannot connect to this database; null: to every one. */
  | { readonly kind: "database"; readonly away: number | null }
  /** Ends a server without drain. */
  | { readonly kind: "kill"; readonly server: number }
  | { readonly kind: "start" }
  /** Sets the clock of a server to this offset from the true time. */
  | { readonly kind: "clock"; readonly server: number; readonly offsetMs: number }
  | { readonly kind: "time"; readonly ms: number }
  /** Repairs all faults, and compares all devices with the model. */
  | { readonly kind: "quiet" };

export const USERS = 4;
export const EMOJIS = ["👍", "❤️", "😂", "👩‍🍳"];
/** The user of each device. */
export const DEVICE_USERS = [0, 0, 1, 1, 2, 3];
/** Devices that skip entries when they lack many. */
export const JUMPING_DEVICES = [1, 5];
export const MAX_SERVERS = 3;
export const MAX_GROUPS = 3;
/** Indexes in USERS. */
export const PAIRS = Array.from({ length: USERS }, (_, high) =>
  Array.from({ length: high }, (_, low) => [low, high] as const),
).flat();

const index = (count: number) => fc.nat({ max: count - 1 });
const user = index(USERS);
const device = index(DEVICE_USERS.length);
const server = index(MAX_SERVERS);
const group = index(MAX_GROUPS);
const users = fc.uniqueArray(user, { minLength: 1, maxLength: 3 });

/** A value in one of `times` cases, null in the others. */
function sometimes<T>(times: number, value: fc.Arbitrary<T>): fc.Arbitrary<T | null> {
  return fc.oneof(
    { weight: times - 1, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: value },
  );
}

const message: fc.Arbitrary<Message> = fc.record({
  user,
  // More weight for groups, less for nobody.
  to: fc.oneof(
    { weight: 6, arbitrary: user },
    { weight: 9, arbitrary: group.map((nth) => USERS + nth) },
    { weight: 1, arbitrary: fc.constant(USERS + MAX_GROUPS) },
  ),
  again: sometimes(3, fc.nat({ max: 40 })),
  changed: fc.boolean(),
  mention: sometimes(4, user),
});

const crash: fc.Arbitrary<Crash> = fc.record({ after: fc.nat({ max: 2 }), executed: fc.boolean() });

/** Steps of a move after which something remains to be done. */
const moveStep = fc.constantFrom<MoveStep[]>("prepared", "copied", "fenced", "switched");

const moveAmong = (databases: number): fc.Arbitrary<Move> =>
  fc.record({
    conversation: index(PAIRS.length + MAX_GROUPS),
    by: fc.integer({ min: 1, max: databases - 1 }),
    during: moveStep,
    death: sometimes(2, fc.record({ after: moveStep, connections: fc.boolean() })),
  });

const HOUR_MS = 3_600_000;

const sendAmong = (databases: number) => ({
  weight: 40,
  arbitrary: fc.record({
    kind: fc.constant("send"),
    messages: fc.array(message, { minLength: 1, maxLength: 5 }),
    way: fc.constantFrom("batch", "rpc", "socket"),
    server,
    crash: sometimes(20, crash),
    move: databases === 1 ? fc.constant(null) : sometimes(10, moveAmong(databases)),
  }),
});

/** Steps that need several databases. */
const databaseSteps = (databases: number) => [
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("resume") }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("database"), away: sometimes(2, index(databases)) }),
  },
];

const OTHER_STEPS = [
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("createGroup"), owner: user, users, server }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("addMembers"),
      group,
      caller: sometimes(4, user),
      users,
      server,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("removeMember"),
      group,
      caller: sometimes(2, fc.oneof(fc.constant(-1), user)),
      user,
      server,
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("read"),
      device,
      conversation: fc.nat({ max: 7 }),
      except: fc.integer({ min: -2, max: 3 }),
      socket: fc.boolean(),
    }),
  },
  {
    weight: 24,
    arbitrary: fc.record({
      kind: fc.constant("change"),
      user,
      conversation: fc.nat({ max: 7 }),
      nth: fc.nat({ max: 12 }),
      what: fc.constantFrom(
        "edit",
        "edit",
        "recall",
        "react",
        "react",
        "pin",
        "unpin",
        "deleteForMe",
      ),
      emojis: fc.uniqueArray(index(EMOJIS.length), { maxLength: 3 }),
      again: fc.boolean(),
      server,
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("connect"), device, instance: index(2) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("disconnect"), device }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("syncPage"),
      device,
      limit: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reinstall"), device }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("bus"),
      state: fc.constantFrom("up", "up", "known", "silent", "losing"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("registry"), down: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("kill"), server }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("start") }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("clock"),
      server,
      offsetMs: fc.constantFrom(0, HOUR_MS, 8 * HOUR_MS, -500, -3_000, -8 * HOUR_MS),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("time"),
      ms: fc.constantFrom(100, 2_000, 6_000, 26_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("quiet") }) },
];

function stepAmong(databases: number): fc.Arbitrary<Step> {
  const more = databases === 1 ? [] : databaseSteps(databases);
  return fc.oneof(sendAmong(databases), ...OTHER_STEPS, ...more) as fc.Arbitrary<Step>;
}

/** The lists without one part: halves first, then ever smaller parts, at last single steps. */
function* withoutSome(steps: readonly Step[]): IterableIterator<fc.Value<Step[]>> {
  for (let size = Math.floor(steps.length / 2); size >= 1; size = Math.floor(size / 2))
    for (let at = 0; at < steps.length; at += size)
      yield new fc.Value([...steps.slice(0, at), ...steps.slice(at + size)], undefined);
}

/** Lists of exactly `count` steps, which shrink to shorter lists of simpler steps. */
export function stepsOf(count: number, databases: number): fc.Arbitrary<Step[]> {
  const step = stepAmong(databases);
  const fixed = fc.array(step, { minLength: count, maxLength: count, size: "max" });
  const shorter = fc.array(step, { minLength: 0, maxLength: count, size: "max" });
  return new (class extends fc.Arbitrary<Step[]> {
    override generate(random: fc.Random, bias: number | undefined): fc.Value<Step[]> {
      return fixed.generate(random, bias);
    }
    override canShrinkWithoutContext(value: unknown): value is Step[] {
      return shorter.canShrinkWithoutContext(value);
    }
    override shrink(value: Step[], context: unknown): fc.Stream<fc.Value<Step[]>> {
      return fc.stream(withoutSome(value)).join(shorter.shrink(value, context));
    }
  })();
}
