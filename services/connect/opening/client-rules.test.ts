import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { CloseCode, type Feature, HelloSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { connectConfig } from "../config.ts";
import { createClientRules } from "./client-rules.ts";

const OPEN = {
  minProtocolRevision: 1,
  minClientVersions: [],
  clientTooOldText: "",
  upgradeUrl: "",
};

function codeOf(rules: Partial<typeof OPEN>, hello: MessageInitShape<typeof HelloSchema>): string {
  const code = createClientRules({ ...OPEN, ...rules })(create(HelloSchema, hello))?.code;
  return code === undefined ? "admitted" : CloseCode[code];
}

test("a change of the minimum client versions applies to the next Hello", () => {
  const rules = { ...OPEN, minClientVersions: ["acme-ios=1"] as readonly string[] };
  const check = createClientRules(rules);
  const hello = create(HelloSchema, { clientName: "acme-ios", clientVersion: "2" });
  assert.equal(check(hello), undefined);
  Object.assign(rules, { minClientVersions: ["acme-ios=3"], clientTooOldText: "Update." });
  assert.equal(check(hello)?.notice?.text, "Update.");
  rules.minClientVersions = [];
  assert.equal(check(hello), undefined);
  rules.minProtocolRevision = 9;
  assert.equal(check(hello)?.code, CloseCode.CLIENT_TOO_OLD);
});

test("versions are compared number by number, with the rule of the client's name", () => {
  const minClientVersions = ["acme-ios=2.4.0", "acme-android=2.1"] as never[];
  const at = (clientName: string, clientVersion: string) =>
    codeOf({ minClientVersions }, { clientName, clientVersion });
  const old = [
    ["acme-ios", "2.3.99"],
    ["acme-ios", "1.10.0"],
    ["acme-ios", "2"],
    ["acme-ios", "2.3.99-beta.7"],
    ["acme-android", "2.0.9999999999999999999999"],
  ] as const;
  const admitted = [
    ["acme-ios", "2.4"],
    ["acme-ios", "2.4.0.0"],
    ["acme-ios", "2.10.0"],
    ["acme-ios", "02.4.0"],
    ["acme-ios", "2.4.0-beta.3"],
    ["acme-ios", "10.0.0+345"],
    ["acme-android", "202611301402"],
    ["acme-android", ""],
    ["another", "0.1"],
    ["", "0.1"],
  ] as const;
  for (const [name, version] of old) assert.equal(at(name, version), "CLIENT_TOO_OLD", version);
  for (const [name, version] of admitted) assert.equal(at(name, version), "admitted", version);
});

test("the rule for all others applies to unknown names and to clients without a version", () => {
  const minClientVersions = ["acme-ios=2.4.0", "*=1.2"] as never[];
  const at = (clientName: string, clientVersion: string) =>
    codeOf({ minClientVersions }, { clientName, clientVersion });
  assert.equal(at("acme-ios", "2.3"), "CLIENT_TOO_OLD");
  assert.equal(at("acme-ios", ""), "CLIENT_TOO_OLD");
  assert.equal(at("another", "1.1"), "CLIENT_TOO_OLD");
  assert.equal(at("", ""), "CLIENT_TOO_OLD");
  assert.equal(at("another", "1.2"), "admitted");
  assert.equal(at("acme-ios", "2.4"), "admitted");
});

test("the minimum of the protocol revision counts 0 as 1, and later revisions are admitted", () => {
  assert.equal(codeOf({}, {}), "admitted");
  assert.equal(codeOf({}, { protocolRevision: 1_000 }), "admitted");
  for (const protocolRevision of [0, 1])
    assert.equal(codeOf({ minProtocolRevision: 2 }, { protocolRevision }), "CLIENT_TOO_OLD");
  assert.equal(codeOf({ minProtocolRevision: 2 }, { protocolRevision: 2 }), "admitted");
});

test("a Hello that breaks a constraint is a protocol error, values of later versions are none", () => {
  const malformed: MessageInitShape<typeof HelloSchema>[] = [
    { clientVersion: "1.x" },
    { clientVersion: ".1" },
    { clientVersion: `1.${"0".repeat(63)}` },
    { clientName: "acme ios" },
    { clientName: "a".repeat(65) },
    { protocolRevision: -1 },
    { contentKinds: Array.from({ length: 65 }, () => 1) },
    { features: Array.from({ length: 65 }, () => 1) },
  ];
  for (const hello of malformed)
    assert.equal(codeOf({}, hello), "PROTOCOL_ERROR", JSON.stringify(hello));
  assert.equal(codeOf({}, { contentKinds: [1, 98, -5], features: [77 as Feature] }), "admitted");
});

test("wrong rules are refused when they are read, and two rules for one name at the start", () => {
  const { minClientVersions: rules, upgradeUrl } = connectConfig.settings;
  assert.equal(rules.fault(["acme-ios=2.4.0", "*=1"]), undefined);
  for (const rule of ["acme-ios", "acme ios=1", "=1", "acme-ios=beta", "acme-ios=1.", "**=1"])
    assert.match(rules.fault([rule]) ?? "", /rules such as "acme-ios=2.4.0".*check item 1/, rule);
  assert.equal(upgradeUrl.fault("https://example.org/update"), undefined);
  assert.match(upgradeUrl.fault("javascript:alert(1)") ?? "", /http or https/);
  assert.equal(rules.fault(["a=1", "b=1", "a=2"]), "must have one rule for a");
});
