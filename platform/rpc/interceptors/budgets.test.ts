import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescField, type DescMessage, getOption } from "@bufbuild/protobuf";
import { field as fieldRules } from "#gen/buf/validate/validate_pb.js";
import {
  AddMembersRequestSchema,
  CreateGroupRequestSchema,
  RemoveMemberRequestSchema,
} from "#gen/lucky/group/v1/group_pb.js";
import { AdvanceBatchRequestSchema } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { AcknowledgeRequestSchema } from "#gen/lucky/message/v1/message_pb.js";
import { items_per_point, server_only } from "#gen/lucky/options/v1/options_pb.js";
import {
  BatchGetProfilesRequestSchema,
  BatchGetUsersRequestSchema,
} from "#gen/lucky/user/v1/user_pb.js";
import { defaultsOf } from "#platform/config/config.ts";
import { limitsConfig } from "#platform/config/settings.ts";
import { generatedServices } from "#platform/rpc/generated.fixture.ts";
import { isInternal } from "#platform/rpc/rules.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { budgetsOf, pointsOf } from "./budgets.ts";

test("the budgets of every class follow the settings", () => {
  const limits = defaultsOf(limitsConfig);
  const budgets = Object.values(budgetsOf(limits));
  const changed = {
    readPerSecond: 1,
    writePerSecond: 2,
    sendPerSecond: 3,
    credentialPerMinute: 4,
    searchPerMinute: 5,
  };
  Object.assign(limits, changed);
  const points = new Map(budgets.map((budget) => [budget.name, budget.points]));
  for (const [key, value] of Object.entries(changed))
    assert.equal(points.get(key.replace(/Per.*/, "")), value, key);
});

const ids = (count: number) => Array.from({ length: count }, (_, at) => String(at + 1));

test("a call costs one point per user that it adds to a group or reads, at most as the contract admits", () => {
  const schemas = [
    AddMembersRequestSchema,
    CreateGroupRequestSchema,
    BatchGetProfilesRequestSchema,
    BatchGetUsersRequestSchema,
  ];
  for (const schema of schemas) {
    const points = (count: number) => pointsOf(create(schema, { userIds: ids(count) }));
    const max = maxItems(schema.field.userIds);
    assert.deepEqual([0, 1, 20, max, max + 1].map(points), [1, 1, 20, max, max], schema.typeName);
  }
  const remove = create(RemoveMemberRequestSchema, { userId: "7" });
  assert.equal(pointsOf(remove), 1);
});

test("ten cursors cost one point, and so does a part of ten", () => {
  const points = (count: number) => {
    const cursors = ids(count).map((conversationId) => ({ conversationId }));
    return pointsOf(create(AcknowledgeRequestSchema, { cursors }));
  };
  assert.deepEqual([1, 10, 11, 200, 400].map(points), [1, 1, 2, 20, 20]);
});

/** Items that a repeated field without `items_per_point` may admit. */
const MAX_FREE_ITEMS = 50;

test("every repeated field of a public request costs points or admits few items", async () => {
  const services = (await generatedServices()).filter((service) => !isInternal(service));
  const requests = services.flatMap(({ methods }) => methods.map(({ input }) => input));
  assert.ok(requests.length > 40);
  assert.deepEqual(
    requests.flatMap((input) => faultsOf(input)),
    [],
  );
});

test("a repeated field with neither is reported", () => {
  assert.deepEqual(faultsOf(AdvanceBatchRequestSchema), [
    "lucky.internal.ingress.v1.AdvanceBatchRequest.advances is free and admits 2000 items",
  ]);
});

/**
 * The repeated fields of a request, at all depths, that break the rule above. Kinds that only the server
 * writes are left out: a send with one is refused, and has at most MAX_FIELDS fields.
 */
function faultsOf(input: DescMessage, top = true): string[] {
  return input.fields.flatMap((field) => {
    if (getOption(field, server_only)) return [];
    const inner = field.message === undefined ? [] : faultsOf(field.message, false);
    const own = isRepeated(field) ? faultOf(field, top) : undefined;
    return own === undefined ? inner : [own, ...inner];
  });
}

function faultOf(field: DescField, top: boolean): string | undefined {
  const name = `${field.parent.typeName}.${field.name}`;
  const most = mostItems(field);
  const charged = getOption(field, items_per_point) > 0;
  if (charged && !top) return `${name} is charged, but not a field of the request itself`;
  if (most === 0) return `${name} has no max_items`;
  return charged || most <= MAX_FREE_ITEMS ? undefined : `${name} is free and admits ${most} items`;
}

const isRepeated = ({ fieldKind }: DescField) => fieldKind === "list" || fieldKind === "map";

/** The bound that validation applies to the items; 0 for none. */
function mostItems(field: DescField): number {
  const { type } = getOption(field, fieldRules);
  if (type.case === "repeated") return Number(type.value.maxItems);
  return type.case === "map" ? Number(type.value.maxPairs) : 0;
}
