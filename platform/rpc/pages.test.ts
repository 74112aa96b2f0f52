import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { type DescMethod, getOption, ScalarType } from "@bufbuild/protobuf";
import { field as fieldRules } from "#gen/buf/validate/validate_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf } from "#platform/errors.ts";
import { SERVICES } from "./contract.ts";
import { idOfPageToken, pageOf, pageTokenOf } from "./pages.ts";
import { isInternal } from "./rules.ts";

const METHODS = SERVICES.filter((service) => !isInternal(service)).flatMap(
  ({ methods }) => methods,
);

/** The text of a message in the contract. */
async function sourceOf({ input }: DescMethod): Promise<string> {
  const url = new URL(`../../proto/${input.file.name}.proto`, import.meta.url);
  const [text] = new RegExp(`^message ${input.name} \\{$[\\s\\S]*?^\\}$`, "m").exec(
    await readFile(url, "utf8"),
  )!;
  return text;
}

test("every list of the public contract has pages, all in the same way", async () => {
  // The log of a conversation has sequences, and Sync a cursor that the device keeps.
  const byPosition = ["ListEntries", "ListMessages", "Sync"];
  const lists = METHODS.filter(
    ({ name, output }) =>
      /^(List|Find|Search)/.test(name) ||
      output.fields.some((field) => /page_token/.test(field.name)),
  ).filter(({ name }) => !byPosition.includes(name));
  assert.ok(lists.length >= 6, `${lists.length} lists`);
  for (const method of lists) {
    const { name, input, output } = method;
    const [size, token] = ["page_size", "page_token"].map((wanted) =>
      input.fields.find((field) => field.name === wanted),
    );
    const next = output.fields.find((field) => field.name === "next_page_token");
    assert.equal(size?.scalar, ScalarType.INT32, `${name}: page_size`);
    assert.equal(token?.scalar, ScalarType.STRING, `${name}: page_token`);
    assert.equal(next?.scalar, ScalarType.STRING, `${name}: next_page_token`);

    const { type } = getOption(size, fieldRules);
    assert.ok(type.case === "int32", name);
    assert.deepEqual(type.value.greaterThan, { case: "gte", value: 0 }, name);
    const largest = Number(type.value.lessThan.value);
    const { type: ofToken } = getOption(token, fieldRules);
    assert.ok(ofToken.case === "string", name);
    assert.equal(ofToken.value.maxLen, 512n, name);

    const source = await sourceOf(method);
    const [, most, usual] =
      /\/\/ Page size, 1 to ([\d,]+); 0 means ([\d,]+)\.\n +int32 page_size/.exec(source) ?? [];
    assert.equal(Number(most?.replace(",", "")), largest, `${name}: the comment of page_size`);
    assert.ok(Number(usual) > 0 && Number(usual) <= largest, `${name}: the comment of page_size`);
    const comment =
      "// next_page_token of the previous page, at most 512 characters; empty for the first page.";
    assert.ok(source.includes(comment), `${name}: the comment of page_token`);
  }
});

test("one row more than the page tells whether another page follows", () => {
  const token = (row: number) => pageTokenOf(BigInt(row));
  assert.deepEqual(pageOf([1, 2, 3], 2, token), { page: [1, 2], nextPageToken: token(2) });
  assert.deepEqual(pageOf([1, 2], 2, token), { page: [1, 2], nextPageToken: "" });
  assert.deepEqual(pageOf([], 2, token), { page: [], nextPageToken: "" });
});

test("a page token is the id of a row, and anything else is refused", () => {
  const last = 2n ** 63n - 1n;
  assert.equal(idOfPageToken(pageTokenOf(last)), last);
  assert.equal(idOfPageToken(""), undefined);
  const encoded = (text: string) => Buffer.from(text).toString("base64url");
  for (const odd of [
    "x",
    "!",
    encoded("0"),
    encoded("-1"),
    encoded(`${last + 1n}`),
    encoded("1.2"),
  ])
    assert.throws(
      () => idOfPageToken(odd),
      (error) => {
        const { reason, field } = detailOf(error)!;
        assert.deepEqual([reason, field], [ErrorReason.INVALID_ARGUMENT, "page_token"], odd);
        return true;
      },
    );
});
