import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type DescMethod, fromJson, type JsonValue } from "@bufbuild/protobuf";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { SERVICES } from "#platform/rpc/contract.ts";
import { isInternal, rulesOf } from "#platform/rpc/rules.ts";
import { createMessageValidator } from "#platform/validation/validator.ts";

interface Operation {
  readonly description: string;
  readonly security: readonly unknown[];
  readonly requestBody: { readonly content: Record<string, { readonly example: JsonValue }> };
  readonly responses: Record<string, { readonly description: string }>;
}

const file = join(import.meta.dirname, "../../gen/docs/openapi.json");
const text = readFileSync(file, "utf8");
const document = JSON.parse(text) as {
  readonly paths: Record<string, { readonly post: Operation }>;
  readonly components: { readonly schemas: Record<string, object> };
};
const methods = SERVICES.filter((service) => !isInternal(service)).flatMap((service) => [
  ...service.methods,
]);
const pathOf = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;
const exampleOf = (method: DescMethod): JsonValue =>
  Object.values(document.paths[pathOf(method)]!.post.requestBody.content)[0]!.example;

const ajv = new Ajv2020({ strict: false, validateFormats: false });
ajv.addSchema(document, "openapi");
const validator = createMessageValidator();

/** Whether the schema of a request, and the constraints of the contract, admit a request in JSON. */
function admitted({ input }: DescMethod, request: JsonValue) {
  const reference = `openapi#/components/schemas/${input.typeName}`;
  const schema = ajv.validate({ $ref: reference }, request);
  const contract = validator.validate(input, fromJson(input, request)).kind === "valid";
  return { schema, contract };
}

test("the document is valid OpenAPI 3.1", async () => {
  const { valid, errors } = await new Validator().validate(JSON.parse(text));
  assert.ok(valid, JSON.stringify(errors));
});

test("it has exactly the public methods, each with its access, its limits and its errors", () => {
  assert.deepEqual(Object.keys(document.paths).sort(), methods.map(pathOf).sort());
  assert.ok(!text.includes("lucky.internal"));
  for (const method of methods) {
    const { post } = document.paths[pathOf(method)]!;
    const { access, maxRequestBytes } = rulesOf(method);
    assert.equal(post.security.length === 0, access === Access.PUBLIC, pathOf(method));
    assert.ok(post.description.includes(`${maxRequestBytes} bytes`), pathOf(method));
    assert.match(post.responses["503"]!.description, /`UNAVAILABLE` \(unavailable\)/);
  }
  const { responses } = document.paths["/lucky.message.v1.MessageService/Send"]!.post;
  assert.match(responses["409"]!.description, /`KEY_REUSED` \(already_exists\): the caller used/);
  assert.match(responses["404"]!.description, /`CONVERSATION_NOT_FOUND`/);
});

test("the example of each request is valid by its schema and by the contract", () => {
  for (const method of methods) {
    const both = admitted(method, exampleOf(method));
    assert.deepEqual(both, { schema: true, contract: true }, pathOf(method));
  }
});

/** Requests that break a constraint: a method, and what replaces fields of its example. */
const broken: readonly (readonly [string, Record<string, JsonValue | undefined>])[] = [
  ["MessageService/Send", { clientMessageId: undefined }],
  ["MessageService/Send", { clientMessageId: "m".repeat(65) }],
  ["MessageService/Send", { content: undefined }],
  ["MessageService/Send", { userId: "0" }],
  ["MessageService/Send", { userId: undefined }],
  ["MessageService/Send", { content: { text: { text: "" } } }],
  ["MessageService/Send", { content: { image: { media: { sha256: "AAAA" } } } }],
  ["MessageService/Send", { content: { location: { latitudeDeg: 91 } } }],
  ["UserService/BatchGetUsers", { userIds: [] }],
  ["UserService/BatchGetUsers", { userIds: Array(201).fill("1") }],
  ["UserService/GetUser", { userId: undefined, userName: "" }],
  ["UserService/UpdateProfile", { birthday: { year: 1_899, month: 1, day: 1 } }],
  ["UserService/UpdateProfile", { signature: "s".repeat(129) }],
  ["AuthService/SendSmsCode", { phone: "0151" }],
  ["AuthService/SendSmsCode", { purpose: "SMS_PURPOSE_UNSPECIFIED" }],
];
for (const [name, change] of broken) {
  const shown = JSON.stringify(change).slice(0, 60);
  test(`${name} with ${shown} is refused by the schema as by the contract`, () => {
    const method = methods.find((candidate) => pathOf(candidate).endsWith(`.${name}`))!;
    const request = { ...(exampleOf(method) as object), ...change };
    const json = JSON.parse(JSON.stringify(request)) as JsonValue;
    assert.deepEqual(admitted(method, json), { schema: false, contract: false });
  });
}
