import assert from "node:assert/strict";
import { test } from "node:test";
import { ContentSchema } from "#gen/lucky/message/v1/content_pb.js";
import {
  COUNTABLE_KINDS,
  isFromDevices,
  KINDS,
  type KindName,
  kindNumber,
  mayHaveMemberships,
} from "./kinds.ts";

/** Field numbers of Content from here on are changes of earlier entries. */
const FIRST_CHANGE = 20;
const all = Object.entries(KINDS).map(([name, kind]) => ({
  ...kind,
  name,
  number: kindNumber(name as KindName),
}));

test("every kind of the contract has a row", () => {
  assert.deepEqual(
    all.map(({ name }) => name).toSorted(),
    ContentSchema.oneofs[0]!.fields.map(({ localName }) => localName).toSorted(),
  );
});

test("every number below 20 is a message, except the tip; the others never count, show or notify", () => {
  for (const { name, number, countable, preview, push, shown } of all) {
    const isMessage = number < FIRST_CHANGE && name !== "tip";
    assert.deepEqual([countable, push], [isMessage, isMessage], name);
    assert.deepEqual([preview, shown], [number < FIRST_CHANGE, number < FIRST_CHANGE], name);
  }
});

test("a kind that devices may send is countable, because the append counts every send", () => {
  for (const { name, countable } of all)
    assert.ok(countable || !isFromDevices(name as KindName), name);
  const serverOnly = all.filter(({ name }) => !isFromDevices(name as KindName));
  assert.deepEqual(
    serverOnly.map(({ name }) => name),
    ["tip", "callRecord", "merged", "edit", "recall", "reactions", "pin", "unpin"],
  );
});

test("kinds are found by their numbers", () => {
  assert.equal(COUNTABLE_KINDS, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14");
  assert.equal(mayHaveMemberships(kindNumber("tip")), true);
  assert.equal(mayHaveMemberships(kindNumber("text")), false);
  assert.equal(mayHaveMemberships(99), false, "a kind of a later version");
});
