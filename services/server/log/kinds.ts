import { type Content, ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import { DEVICE_KINDS } from "#platform/validation/device-content.ts";

/** Name of a kind: the name of its field in Content. */
export type KindName = NonNullable<Content["kind"]["case"]>;

/** Properties of the entries of a kind. */
export interface Kind {
  /** Whether it counts as unread. */
  readonly countable: boolean;
  /** Whether it is a line of its own in the conversation; a change of earlier entries is not. */
  readonly shown: boolean;
  /** Whether it may be the last entry that a list of conversations shows. */
  readonly preview: boolean;
  /** Whether it may cause a push notification. */
  readonly push: boolean;
  /** Whether it may tell that users became members, or are no longer members. */
  readonly memberships: boolean;
}

const MESSAGE: Kind = {
  countable: true,
  shown: true,
  preview: true,
  push: true,
  memberships: false,
};

const CHANGE: Kind = {
  countable: false,
  shown: false,
  preview: false,
  push: false,
  memberships: false,
};

/**
 * All kinds of entries. A field number below 20 in Content is a message, except 11, the tip. From 20
 * on it is a change of earlier entries: not countable, not shown, no preview, no push.
 */
export const KINDS: { readonly [name in KindName]: Kind } = {
  text: MESSAGE,
  image: MESSAGE,
  video: MESSAGE,
  audio: MESSAGE,
  file: MESSAGE,
  location: MESSAGE,
  composite: MESSAGE,
  contactCard: MESSAGE,
  groupInvitation: MESSAGE,
  joinRequest: MESSAGE,
  tip: { countable: false, shown: true, preview: true, push: false, memberships: true },
  callRecord: MESSAGE,
  custom: MESSAGE,
  merged: MESSAGE,
  edit: CHANGE,
  recall: CHANGE,
  reactions: CHANGE,
  pin: CHANGE,
  unpin: CHANGE,
};

const names = Object.keys(KINDS) as KindName[];

/** Value of im.entry.kind for a kind: its field number in Content. */
export function kindNumber(name: KindName): number {
  return ContentSchema.field[name].number;
}

const deviceKinds = new Set(DEVICE_KINDS);

/** The first kind that is a change of earlier entries; all later ones are changes, too. */
export const FIRST_CHANGE = 20;

const TIP = kindNumber("tip");

/** Whether entries with this value of im.entry.kind are messages: neither tips nor changes. */
export function isMessage(kind: number): boolean {
  return kind < FIRST_CHANGE && kind !== TIP;
}

/** Whether entries with this value of im.entry.kind count as unread. */
export function isCountable(kind: number): boolean {
  return countable.has(kind);
}

/**
 * Whether a device may send a kind; otherwise only the server writes it. The contract says so. These
 * kinds are countable, because the append statement counts every send.
 */
export function isFromDevices(name: KindName): boolean {
  return deviceKinds.has(kindNumber(name));
}

/** Values of im.entry.kind for the kinds with a property. */
function numbersWith(property: "countable" | "memberships"): number[] {
  return names.filter((name) => KINDS[name][property]).map(kindNumber);
}

const withMemberships = new Set(numbersWith("memberships"));
const countable = new Set(numbersWith("countable"));

/**
 * Whether entries with this value of im.entry.kind may tell of memberships. A kind of a later version
 * of the server has none.
 */
export function mayHaveMemberships(kind: number): boolean {
  return withMemberships.has(kind);
}

/** The countable kinds as a list for SQL: `kind IN (${COUNTABLE_KINDS})`. */
export const COUNTABLE_KINDS = numbersWith("countable").join(", ");
