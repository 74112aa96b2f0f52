import { Feature, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { readVarint } from "#platform/wire.ts";

const { field } = ServerFrameSchema;

/** Field number in ServerFrame of the optional frame of each feature. */
const FRAMES: ReadonlyMap<Feature, number> = new Map<Feature, number>([
  [Feature.TYPING, field.typing.number],
  [Feature.RECEIPTS, field.receipt.number],
  [Feature.SECURITY_NOTICES, field.securityNotice.number],
]);

/** The features of this server. */
export const FEATURES: readonly Feature[] = [...FRAMES.keys()];

/**
 * The optional frames that a client does not want: their field numbers in ServerFrame. `wanted` are the
 * features of its Hello; without any, it wants all frames. Undefined for none, which most clients have.
 */
export function declinedFrames(wanted: readonly Feature[]): ReadonlySet<number> | undefined {
  const listed = new Set<Feature>(wanted.filter((feature) => feature !== Feature.UNSPECIFIED));
  if (listed.size === 0) return undefined;
  const declined = [...FRAMES].flatMap(([feature, frame]) => (listed.has(feature) ? [] : frame));
  return declined.length === 0 ? undefined : new Set(declined);
}

/** Field number in ServerFrame of an encoded frame. */
export function kindOf(frame: Uint8Array): number {
  return readVarint(frame, 0) >>> 3;
}
