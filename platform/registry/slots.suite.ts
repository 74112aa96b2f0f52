import assert from "node:assert/strict";
import { test } from "node:test";
import {
  instance,
  kept,
  nothing,
  type RegistryWorld,
  refusing,
  replacing,
  session,
  twoLeases,
} from "./registry.fixture.ts";

/** Tests of slots under the rule "replace". */
export function replacedSlotTests(world: RegistryWorld): void {
  test("the oldest session beyond the limit loses its slot", async (t) => {
    const { claim } = await twoLeases(await world.open(t));
    assert.deepEqual(await claim(0, "s1", "phone-1", 2), []);
    assert.deepEqual(await claim(1, "s2", "phone-2", 2), []);
    assert.deepEqual(await claim(0, "s3", "phone-3", 2), ["s1"]);
    assert.deepEqual(await claim(0, "s3", "phone-3", 2), []);
    assert.deepEqual(await claim(1, "s4", "phone-4", 1), ["s2", "s3"]);
  });

  test("a device claims its own slot; other classes and users keep theirs", async (t) => {
    const { leases, claim } = await twoLeases(await world.open(t));
    const tablet = { ...session("s0", "tablet-1", "connect-0"), deviceClass: 3 };
    const stranger = { ...session("x0", "phone-9", "connect-0"), userId: "2" };
    assert.deepEqual(await leases[0].claim(tablet, replacing(1)), kept());
    assert.deepEqual(await leases[0].claim(stranger, replacing(1)), kept());
    assert.deepEqual(await claim(0, "s1", "phone-1", 5), []);
    assert.deepEqual(
      await leases[1].claim(session("s2", "phone-1", "connect-1"), replacing(5)),
      kept(session("s1", "phone-1", "connect-0")),
    );
  });

  test("an old session that closes late does not free the slot of a newer one", async (t) => {
    const { leases, claim } = await twoLeases(await world.open(t));
    await claim(0, "s1", "phone-1", 1);
    assert.deepEqual(await claim(1, "s2", "phone-1", 1), ["s1"]);
    await leases[0].unclaim(session("s1", "phone-1", "connect-0"));
    assert.deepEqual(await claim(0, "s3", "phone-2", 1), ["s2"]);
    await leases[0].unclaim(session("s3", "phone-2", "connect-0"));
    assert.deepEqual(await claim(1, "s4", "phone-3", 1), []);
  });

  test("of concurrent claims with limit 1 exactly one keeps its slot", async (t) => {
    const { claim } = await twoLeases(await world.open(t));
    const names = Array.from({ length: 24 }, (_, i) => `s${i}`);
    const displaced = await Promise.all(names.map((s, i) => claim(i % 2, s, `phone-${i}`, 1)));
    const losers = displaced.flat();
    assert.equal(losers.length, 23);
    assert.equal(new Set(losers).size, 23);
    const [winner] = names.filter((s) => !losers.includes(s));
    assert.deepEqual(await claim(0, "last", "phone-x", 1), [winner]);
  });

  test("a repeated claim keeps its age, and loses its slot to a newer claim", async (t) => {
    const start = await world.open(t);
    const [a, b] = [await start(), await start()];
    const lost = Promise.withResolvers<void>();
    const old = await a.registry.announce(instance("connect-0"), () => lost.resolve());
    const other = await b.registry.announce(instance("connect-1"), nothing);
    const first = session("s1", "phone-1", "connect-0");
    await old.claim(first, replacing(1));
    await a.expireLeases();
    // The slot of a dead instance's session is free: no claim is displaced.
    const second = session("s2", "phone-2", "connect-1");
    assert.deepEqual(await other.claim(second, replacing(1)), kept());
    a.resume();
    await lost.promise;
    assert.deepEqual(await old.claim(first, replacing(1)), kept(first));
  });
}

/** Tests of slots under the rule "refuse". */
export function refusedSlotTests(world: RegistryWorld): void {
  test("under refuse, earlier devices keep their slots, and a device may claim its own", async (t) => {
    const { leases, claim } = await twoLeases(await world.open(t));
    assert.deepEqual(await claim(0, "s1", "phone-1", refusing(2)), []);
    assert.deepEqual(await claim(1, "s2", "phone-2", refusing(2)), []);
    assert.equal(await claim(1, "s3", "phone-3", refusing(2)), "refused");
    assert.deepEqual(await claim(1, "s4", "phone-1", refusing(2)), ["s1"]);
    // A lowered limit displaces no device and admits no further device.
    assert.equal(await claim(0, "s5", "phone-3", refusing(1)), "refused");
    assert.deepEqual(await claim(0, "s6", "phone-3", refusing(3)), []);
    await leases[1].unclaim(session("s2", "phone-2", "connect-1"));
    assert.equal(await claim(0, "s7", "phone-2", refusing(2)), "refused");
    await leases[0].unclaim(session("s6", "phone-3", "connect-0"));
    assert.deepEqual(await claim(0, "s8", "phone-2", refusing(2)), []);
    assert.equal(await claim(0, "s9", "phone-9", refusing(0)), "refused");
  });

  test("under refuse, concurrent claims get as many slots as the limit allows", async (t) => {
    const { claim } = await twoLeases(await world.open(t));
    const names = Array.from({ length: 24 }, (_, i) => `s${i}`);
    const answers = await Promise.all(
      names.map((s, i) => claim(i % 2, s, `phone-${i}`, refusing(3))),
    );
    assert.equal(answers.filter((answer) => answer === "refused").length, 21);
    assert.ok(answers.every((answer) => answer === "refused" || answer.length === 0));
  });

  test("under refuse, a repeated claim keeps its slot before newer claims", async (t) => {
    const start = await world.open(t);
    const [a, b] = [await start(), await start()];
    const lost = Promise.withResolvers<void>();
    const old = await a.registry.announce(instance("connect-0"), () => lost.resolve());
    const other = await b.registry.announce(instance("connect-1"), nothing);
    const first = session("s1", "phone-1", "connect-0");
    await old.claim(first, refusing(1));
    await a.expireLeases();
    const second = session("s2", "phone-2", "connect-1");
    assert.deepEqual(await other.claim(second, refusing(1)), kept());
    a.resume();
    await lost.promise;
    assert.deepEqual(await old.claim(first, refusing(1)), kept(second));
  });
}
