import { type DescMessage, type DescMethod, getOption, type Message } from "@bufbuild/protobuf";
import { items_per_point, LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import type { LimitsConfig } from "#platform/config/settings.ts";
import type { Budget } from "#platform/limiter/limiter.ts";
import { SERVICES } from "#platform/rpc/contract.ts";
import { maxItems } from "#platform/validation/constraints.ts";

/** The budget of each limit class; a class without one is not limited. */
export type Budgets = { readonly [C in LimitClass]?: Budget };

/** Health checks and reflection streams of one address on a public port, a second. */
const STANDARD_PER_SECOND = 10;

/** The budgets of a public port, as configured now: their settings are live. */
export function budgetsOf(limits: LimitsConfig): Budgets {
  const budget = (name: string, windowMs: number, points: () => number): Budget => ({
    name,
    windowMs,
    get points() {
      return points();
    },
  });
  const perSecond = (name: string, points: () => number) => budget(name, 1_000, points);
  return {
    [LimitClass.READ]: perSecond("read", () => limits.readPerSecond),
    [LimitClass.WRITE]: perSecond("write", () => limits.writePerSecond),
    [LimitClass.SEND]: perSecond("send", () => limits.sendPerSecond),
    [LimitClass.CREDENTIAL]: budget("credential", 60_000, () => limits.credentialPerMinute),
    // A public port refuses the calls of our own services: this class has only the
    // standard services of gRPC.
    [LimitClass.INTERNAL]: perSecond("standard", () => STANDARD_PER_SECOND),
    [LimitClass.SEARCH]: budget("search", 60_000, () => limits.searchPerMinute),
  };
}

/** A repeated field of a request whose items cost points. */
interface ChargedField {
  readonly name: string;
  readonly itemsPerPoint: number;
  /**
   * Most items that count: as many as the contract admits. Validation refuses a larger request, which
   * must not block its caller's other calls for longer.
   */
  readonly most: number;
}

/** The charged fields of the contract's requests, by the name of the request. */
const CHARGED: ReadonlyMap<string, readonly ChargedField[]> = new Map(
  SERVICES.flatMap(({ methods }) =>
    methods.map(({ input }) => [input.typeName, chargedFieldsOf(input)]),
  ),
);

function chargedFieldsOf(input: DescMessage): readonly ChargedField[] {
  return input.fields.flatMap((field) => {
    const itemsPerPoint = getOption(field, items_per_point);
    if (itemsPerPoint === 0) return [];
    return [{ name: field.localName, itemsPerPoint, most: maxItems(field) }];
  });
}

/** Whether the points of a call depend on its request; all other calls take one. */
export function isWeighed({ input }: DescMethod): boolean {
  return (CHARGED.get(input.typeName)?.length ?? 0) > 0;
}

/**
 * Points that a call takes from its budget: one, or as many as the items of its request cost by the
 * option `items_per_point`.
 */
export function pointsOf(request: Message): number {
  let points = 0;
  for (const { name, itemsPerPoint, most } of CHARGED.get(request.$typeName) ?? []) {
    const items = (request as unknown as Record<string, readonly unknown[]>)[name]!;
    points += Math.min(items.length, most) / itemsPerPoint;
  }
  return Math.max(1, Math.ceil(points));
}
