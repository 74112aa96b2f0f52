import assert from "node:assert/strict";
import { test } from "node:test";
import { LuckyError } from "../error.ts";
import { checkProgram, helloOf, type Program } from "./hello.ts";

test("a program whose Hello the server would refuse is refused by the client", () => {
  const faultOf = (program: Program) => {
    try {
      checkProgram(program);
      return undefined;
    } catch (error) {
      return error instanceof LuckyError ? error.field : error;
    }
  };
  for (const clientVersion of ["demo", "1.", "v1", "1.2 beta", "1".repeat(65)])
    assert.equal(faultOf({ clientVersion }), "client_version");
  for (const clientName of ["acme web", "x".repeat(65)])
    assert.equal(faultOf({ clientName }), "client_name");
  assert.equal(faultOf({ contentKinds: Array<number>(65).fill(1) }), "content_kinds");
  for (const clientVersion of ["", "2", "2.14.0", "2.14.0-beta.3", "1+a"])
    assert.equal(faultOf({ clientName: "acme-web", clientVersion }), undefined);
  const { clientName, clientVersion } = helloOf("token", {});
  assert.equal(faultOf({ clientName, clientVersion }), undefined);
});
