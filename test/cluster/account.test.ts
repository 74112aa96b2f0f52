import assert from "node:assert/strict";
import { test } from "node:test";
import { Account } from "./account.ts";

/** An account of three messages from one user, which the receiver "ben" shows at these sequences. */
function accountOf(shown: readonly (readonly [text: string, sequence: number])[]) {
  const account = new Account();
  for (const [at, text] of ["a", "b", "c"].entries()) {
    account.send();
    account.accept(text, { conversation: "1", sequence: at + 1, to: "ben" });
  }
  for (const [text, sequence] of shown) account.show("ben", { text, conversation: "1", sequence });
  const { lost, duplicated, reordered } = account.result();
  return { complete: account.isComplete(), lost, duplicated, reordered };
}

test("an account finds lost, duplicated and reordered messages", () => {
  const perfect = { complete: true, lost: 0, duplicated: 0, reordered: 0 };
  const [a, b, c] = [["a", 1] as const, ["b", 2] as const, ["c", 3] as const];
  assert.deepEqual(accountOf([a, b, c]), perfect);
  assert.deepEqual(accountOf([a, c]), { ...perfect, complete: false, lost: 1 });
  assert.deepEqual(accountOf([a, b, c, ["c", 4]]), { ...perfect, duplicated: 2 });
  assert.deepEqual(accountOf([a, c, b]), { ...perfect, reordered: 1 });
});
