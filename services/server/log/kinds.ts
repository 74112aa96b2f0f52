import { type Content, ContentSchema } from "#gen/lucky/message/v1/content_pb.js";

/** Name of a kind: the name of its field in Content. */
export type KindName = NonNullable<Content["kind"]["case"]>;

/** Properties of the entries of a kind. */
export type Kind = {
  /** Whether it may be the last entry that a list of conversations shows. */
  readonly preview: boolean;
  /** Whether it may cause a push notification. */
  readonly push: boolean;
  /** Whether it may tell that users became members, or are no longer members. */
  readonly memberships: boolean;
} & (
  | {
      /** Whether it counts as unread. */
      readonly countable: boolean;
      /** Whether a device may send it; false: only the server writes it. */
      readonly fromDevices: false;
    }
  // The append statement counts every send.
  | { readonly countable: true; readonly fromDevices: true }
);

const MESSAGE: Kind = {
  countable: true,
  preview: true,
  fromDevices: true,
  push: true,
  memberships: false,
};

/**
 * All kinds of entries. A field number below 20 in Content is a message, except 11, the tip. From 20
 * on it is a change of earlier entries: not countable, no preview, no push.
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
  tip: { countable: false, preview: true, fromDevices: false, push: false, memberships: true },
  callRecord: { ...MESSAGE, fromDevices: false },
  custom: MESSAGE,
};

const names = Object.keys(KINDS) as KindName[];

/** Value of im.entry.kind for a kind: its field number in Content. */
export function kindNumber(name: KindName): number {
  return ContentSchema.field[name].number;
}

/** Values of im.entry.kind for the kinds with a property. */
function numbersWith(property: "countable" | "memberships"): number[] {
  return names.filter((name) => KINDS[name][property]).map(kindNumber);
}

const withMemberships = new Set(numbersWith("memberships"));

/**
 * Whether entries with this value of im.entry.kind may tell of memberships. A kind of a later version
 * of the server has none.
 */
export function mayHaveMemberships(kind: number): boolean {
  return withMemberships.has(kind);
}

/** The countable kinds as a list for SQL: `kind IN (${COUNTABLE_KINDS})`. */
export const COUNTABLE_KINDS = numbersWith("countable").join(", ");
