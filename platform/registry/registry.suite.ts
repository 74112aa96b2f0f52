import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Claim, ClaimResult, Instance, Lease, Registry, SlotRule } from "./registry.ts";

/** A registry as one process has it, which can be held up like a suspended process. */
export interface Seat {
  readonly registry: Registry;
  /** Holds the process up until the leases it keeps have run out and everybody knows. */
  lapse(): Promise<void>;
  /** Lets it go on, with its next renewal at once. */
  resume(): void;
}

/** Where the suite gets its registries from: all seats of one test see the same instances. */
export interface RegistryWorld {
  /** An empty registry; every call of what it returns is another process. Closed with the test. */
  open(t: TestContext): Promise<() => Promise<Seat>>;
}

/** What every adapter of the registry must do. */
export function registrySuite(name: string, world: RegistryWorld): void {
  suite(`registry: ${name}`, () => {
    test("instances are found by their service, until they leave", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [(await seat()).registry, (await seat()).registry];
      const lease = await a.announce(instance("connect-0"), nothing);
      await b.announce(instance("connect-1", { load: 3 }), nothing);
      await b.announce(instance("server-0", { service: "server" }), nothing);
      const fresh = (await seat()).registry;
      const found = [...(await fresh.instances("connect"))];
      found.sort((x, y) => x.instanceId.localeCompare(y.instanceId));
      assert.deepEqual(found, [instance("connect-0"), instance("connect-1", { load: 3 })]);
      await lease.release();
      await lease.release();
      const later = (await seat()).registry;
      assert.deepEqual(ids(await later.instances("connect")), ["connect-1"]);
      assert.deepEqual(await later.instances("auth"), []);
    });

    test("channels lead to the instances that joined them", async (t) => {
      const seat = await world.open(t);
      const { registry } = await seat();
      assert.deepEqual(await registry.locate(["u:1", "u:2"]), [[], []]);
      const a = await registry.announce(instance("connect-0"), nothing);
      const b = await registry.announce(instance("connect-1"), nothing);
      await a.join(["u:1", "g:7"]);
      await a.join(["u:1"]);
      await b.join(["g:7"]);
      const [one, group, two] = await registry.locate(["u:1", "g:7", "u:2"]);
      assert.deepEqual(one, ["connect-0"]);
      assert.deepEqual([...group!].sort(), ["connect-0", "connect-1"]);
      assert.deepEqual(two, []);
      await a.leave(["g:7", "g:8"]);
      assert.deepEqual(await registry.locate(["g:7"]), [["connect-1"]]);
      await b.release();
      assert.deepEqual(await (await seat()).registry.locate(["g:7", "u:1"]), [[], ["connect-0"]]);
      assert.deepEqual(await registry.locate([]), []);
      await a.join([]);
    });

    test("an instance that has just come is located at once, by everybody", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [(await seat()).registry, (await seat()).registry];
      const first = await a.announce(instance("connect-0"), nothing);
      await first.join(["g:7"]);
      assert.deepEqual(await b.locate(["g:7"]), [["connect-0"]]);
      const second = await a.announce(instance("connect-1"), nothing);
      await second.join(["g:7"]);
      assert.deepEqual([...(await b.locate(["g:7"]))[0]!].sort(), ["connect-0", "connect-1"]);
      await first.release();
      const back = await a.announce(instance("connect-0"), nothing);
      await back.join(["g:7"]);
      assert.deepEqual([...(await b.locate(["g:7"]))[0]!].sort(), ["connect-0", "connect-1"]);
    });

    test("thousands of channels are joined and left in one go", async (t) => {
      const seat = await world.open(t);
      const { registry } = await seat();
      const lease = await registry.announce(instance("connect-0"), nothing);
      const channels = Array.from({ length: 12_000 }, (_, i) => `u:${i}`);
      await lease.join(channels);
      const located = await registry.locate(channels);
      assert.ok(located.every((list) => list.length === 1));
      await lease.leave(channels);
      assert.ok((await registry.locate(channels)).every((list) => list.length === 0));
    });

    test("a second live instance under the same id is refused", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [(await seat()).registry, (await seat()).registry];
      const lease = await a.announce(instance("connect-0"), nothing);
      await assert.rejects(b.announce(instance("connect-0"), nothing), /live instance.*connect-0/);
      await lease.release();
      await b.announce(instance("connect-0"), nothing);
    });

    test("an instance whose lease ran out is nowhere, and its successor gets its name", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [await seat(), (await seat()).registry];
      const gone = await a.registry.announce(instance("connect-0"), nothing);
      const other = await b.announce(instance("connect-1"), nothing);
      await gone.join(["g:7"]);
      await other.join(["g:7"]);
      await a.lapse();
      assert.deepEqual(await b.locate(["g:7"]), [["connect-1"]]);
      assert.deepEqual(ids(await b.instances("connect")), ["connect-1"]);
      const successor = await b.announce(instance("connect-0"), nothing);
      await successor.join(["g:8"]);
      assert.deepEqual(await b.locate(["g:7", "g:8"]), [["connect-1"], ["connect-0"]]);
    });

    test("an instance that was forgotten is told so, entered again, and can join again", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [await seat(), (await seat()).registry];
      const lost = Promise.withResolvers<void>();
      const lease = await a.registry.announce(instance("connect-0"), () => lost.resolve());
      await lease.join(["u:1"]);
      lease.update(12);
      await a.lapse();
      a.resume();
      await lost.promise;
      assert.deepEqual(await b.locate(["u:1"]), [[]]);
      await lease.join(["u:1"]);
      assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
      const [entered] = await (await seat()).registry.instances("connect");
      assert.deepEqual(entered, instance("connect-0", { load: 12 }));
    });

    test("the oldest session beyond the limit loses its place", async (t) => {
      const { claim } = await twoLeases(await world.open(t));
      assert.deepEqual(await claim(0, "s1", "phone-1", 2), []);
      assert.deepEqual(await claim(1, "s2", "phone-2", 2), []);
      assert.deepEqual(await claim(0, "s3", "phone-3", 2), ["s1"]);
      assert.deepEqual(await claim(0, "s3", "phone-3", 2), []);
      assert.deepEqual(await claim(1, "s4", "phone-4", 1), ["s2", "s3"]);
    });

    test("the same device claims its own place; other classes and users are not touched", async (t) => {
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

    test("an old session that closes late does not erase the newer claim", async (t) => {
      const { leases, claim } = await twoLeases(await world.open(t));
      await claim(0, "s1", "phone-1", 1);
      assert.deepEqual(await claim(1, "s2", "phone-1", 1), ["s1"]);
      await leases[0].unclaim(session("s1", "phone-1", "connect-0"));
      assert.deepEqual(await claim(0, "s3", "phone-2", 1), ["s2"]);
      await leases[0].unclaim(session("s3", "phone-2", "connect-0"));
      assert.deepEqual(await claim(1, "s4", "phone-3", 1), []);
    });

    test("of concurrent claims with limit 1 exactly one keeps its place", async (t) => {
      const { claim } = await twoLeases(await world.open(t));
      const names = Array.from({ length: 24 }, (_, i) => `s${i}`);
      const displaced = await Promise.all(names.map((s, i) => claim(i % 2, s, `phone-${i}`, 1)));
      const losers = displaced.flat();
      assert.equal(losers.length, 23);
      assert.equal(new Set(losers).size, 23);
      const [winner] = names.filter((s) => !losers.includes(s));
      assert.deepEqual(await claim(0, "last", "phone-x", 1), [winner]);
    });

    test("a claim made again stays as old as it is, and loses to one that came meanwhile", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [await seat(), await seat()];
      const lost = Promise.withResolvers<void>();
      const old = await a.registry.announce(instance("connect-0"), () => lost.resolve());
      const other = await b.registry.announce(instance("connect-1"), nothing);
      const first = session("s1", "phone-1", "connect-0");
      await old.claim(first, replacing(1));
      await a.lapse();
      // The place of a dead instance's session is free: nobody is displaced.
      const second = session("s2", "phone-2", "connect-1");
      assert.deepEqual(await other.claim(second, replacing(1)), kept());
      a.resume();
      await lost.promise;
      assert.deepEqual(await old.claim(first, replacing(1)), kept(first));
    });

    test("where the new one is refused, those before it stay, and a device gets its own place", async (t) => {
      const { leases, claim } = await twoLeases(await world.open(t));
      assert.deepEqual(await claim(0, "s1", "phone-1", refusing(2)), []);
      assert.deepEqual(await claim(1, "s2", "phone-2", refusing(2)), []);
      assert.equal(await claim(1, "s3", "phone-3", refusing(2)), "refused");
      assert.deepEqual(await claim(1, "s4", "phone-1", refusing(2)), ["s1"]);
      // A lowered limit takes nobody's place, and gives none away either.
      assert.equal(await claim(0, "s5", "phone-3", refusing(1)), "refused");
      assert.deepEqual(await claim(0, "s6", "phone-3", refusing(3)), []);
      await leases[1].unclaim(session("s2", "phone-2", "connect-1"));
      assert.equal(await claim(0, "s7", "phone-2", refusing(2)), "refused");
      await leases[0].unclaim(session("s6", "phone-3", "connect-0"));
      assert.deepEqual(await claim(0, "s8", "phone-2", refusing(2)), []);
      assert.equal(await claim(0, "s9", "phone-9", refusing(0)), "refused");
    });

    test("of concurrent claims where the new one is refused, as many as allowed are kept", async (t) => {
      const { claim } = await twoLeases(await world.open(t));
      const names = Array.from({ length: 24 }, (_, i) => `s${i}`);
      const answers = await Promise.all(
        names.map((s, i) => claim(i % 2, s, `phone-${i}`, refusing(3))),
      );
      assert.equal(answers.filter((answer) => answer === "refused").length, 21);
      assert.ok(answers.every((answer) => answer === "refused" || answer.length === 0));
    });

    test("a claim made again keeps its place before those that came meanwhile, where new ones are refused", async (t) => {
      const seat = await world.open(t);
      const [a, b] = [await seat(), await seat()];
      const lost = Promise.withResolvers<void>();
      const old = await a.registry.announce(instance("connect-0"), () => lost.resolve());
      const other = await b.registry.announce(instance("connect-1"), nothing);
      const first = session("s1", "phone-1", "connect-0");
      await old.claim(first, refusing(1));
      await a.lapse();
      const second = session("s2", "phone-2", "connect-1");
      assert.deepEqual(await other.claim(second, refusing(1)), kept());
      a.resume();
      await lost.promise;
      assert.deepEqual(await old.claim(first, refusing(1)), kept(second));
    });
  });
}

const nothing = () => {};
const ids = (instances: readonly Instance[]) => instances.map((i) => i.instanceId);

/** A connect instance by its id. */
export function instance(instanceId: string, over: Partial<Instance> = {}): Instance {
  const address = `http://127.0.0.1/${instanceId}`;
  return { instanceId, service: "connect", address, publicAddress: "", load: 0, ...over };
}

/** A claim of user 1 on a phone. */
export function session(sessionId: string, deviceId: string, instanceId: string): Claim {
  return { sessionId, userId: "1", deviceId, deviceClass: 1, instanceId };
}

/** The oldest beyond the limit give way. */
export const replacing = (limit: number): SlotRule => ({ limit, excess: "replace" });
const refusing = (limit: number): SlotRule => ({ limit, excess: "refuse" });

/** A claim that was entered, and those that it displaced. */
export const kept = (...displaced: Claim[]): ClaimResult => ({ refused: false, displaced });

async function twoLeases(seat: () => Promise<Seat>) {
  const leases: [Lease, Lease] = [
    await (await seat()).registry.announce(instance("connect-0"), nothing),
    await (await seat()).registry.announce(instance("connect-1"), nothing),
  ];
  /**
   * Claims for user 1 by one of the two instances; the session ids that were displaced. A number is
   * the limit beyond which the oldest give way.
   */
  const claim = async (
    at: number,
    sessionId: string,
    deviceId: string,
    rule: SlotRule | number,
  ) => {
    const made = session(sessionId, deviceId, `connect-${at}`);
    const given = typeof rule === "number" ? replacing(rule) : rule;
    const { refused, displaced } = await leases[at]!.claim(made, given);
    if (!refused) return displaced.map((c) => c.sessionId);
    assert.deepEqual(displaced, []);
    return "refused" as const;
  };
  return { leases, claim };
}

/** The time of one process: held up, its timers do not ring, while time goes on. */
export class SeatClock implements Clock {
  readonly #base: Clock;
  readonly #repeated = new Set<() => void>();
  #held = false;

  constructor(base: Clock) {
    this.#base = base;
  }

  now(): number {
    return this.#base.now();
  }

  elapsed(): number {
    return this.#base.elapsed();
  }

  after(delayMs: number, ring: () => void): Timer {
    return this.#base.after(delayMs, () => {
      if (!this.#held) ring();
    });
  }

  every(intervalMs: number, ring: () => void): Timer {
    const guarded = () => {
      if (!this.#held) ring();
    };
    const timer = this.#base.every(intervalMs, guarded);
    this.#repeated.add(guarded);
    return {
      stop: () => {
        this.#repeated.delete(guarded);
        timer.stop();
      },
    };
  }

  hold(): void {
    this.#held = true;
  }

  resume(): void {
    this.#held = false;
    for (const ring of this.#repeated) ring();
  }
}
