import assert from "node:assert/strict";
import { test } from "node:test";
import { createPeerProof } from "./peer-proof.ts";

const upgrade = { address: "203.0.113.7", key: "dGhlIHNhbXBsZSBub25jZQ==" };

test("the address in a proof is accepted only for the upgrade that the gateway wrote it for", () => {
  const header = createPeerProof(["secret"]).prove(upgrade);
  assert.equal(createPeerProof(["secret"]).read(header, upgrade.key), upgrade.address);
  assert.equal(createPeerProof(["secret"]).read(header, "another key"), undefined);
  assert.equal(createPeerProof(["other"]).read(header, upgrade.key), undefined);
  assert.equal(createPeerProof([]).read(header, upgrade.key), undefined);
});

test("during a rotation a proof by the old or the new secret is accepted", () => {
  const accepting = createPeerProof(["old", "new"]);
  for (const secret of ["old", "new"]) {
    const header = createPeerProof([secret, "other"]).prove(upgrade);
    assert.equal(accepting.read(header, upgrade.key), upgrade.address);
  }
});

test("any other header is not accepted", () => {
  const proof = createPeerProof(["secret"]);
  const [, mac] = proof.prove(upgrade).split(" ");
  for (const header of ["", "203.0.113.7", "203.0.113.7 ", `203.0.113.8 ${mac}`, `${mac}`])
    assert.equal(proof.read(header, upgrade.key), undefined, header);
  assert.equal(proof.read(`${proof.prove(upgrade)} more`, upgrade.key), undefined);
});
