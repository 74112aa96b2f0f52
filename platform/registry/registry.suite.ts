import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ids, instance, nothing, type RegistryWorld } from "./registry.fixture.ts";
import { refusedSlotTests, replacedSlotTests } from "./slots.suite.ts";

/** The tests that every adapter of the registry must pass. */
export function registrySuite(name: string, world: RegistryWorld): void {
  suite(`registry: ${name}`, () => {
    instanceTests(world);
    channelTests(world);
    replacedSlotTests(world);
    refusedSlotTests(world);
  });
}

function instanceTests(world: RegistryWorld): void {
  test("instances are listed by their service until they are released", async (t) => {
    const start = await world.open(t);
    const [a, b] = [(await start()).registry, (await start()).registry];
    const lease = await a.announce(instance("connect-0"), nothing);
    await b.announce(instance("connect-1", { load: 3 }), nothing);
    await b.announce(instance("server-0", { service: "server" }), nothing);
    const fresh = (await start()).registry;
    const found = [...(await fresh.instances("connect"))];
    found.sort((x, y) => x.instanceId.localeCompare(y.instanceId));
    assert.deepEqual(found, [instance("connect-0"), instance("connect-1", { load: 3 })]);
    await lease.release();
    await lease.release();
    const later = (await start()).registry;
    assert.deepEqual(ids(await later.instances("connect")), ["connect-1"]);
    assert.deepEqual(await later.instances("auth"), []);
  });

  test("a second live instance under the same id is refused", async (t) => {
    const start = await world.open(t);
    const [a, b] = [(await start()).registry, (await start()).registry];
    const lease = await a.announce(instance("connect-0"), nothing);
    await assert.rejects(b.announce(instance("connect-0"), nothing), /live instance.*connect-0/);
    await lease.release();
    await b.announce(instance("connect-0"), nothing);
  });

  test("an instance whose lease expired is not found, and its successor gets its name", async (t) => {
    const start = await world.open(t);
    const [a, b] = [await start(), (await start()).registry];
    const gone = await a.registry.announce(instance("connect-0"), nothing);
    const other = await b.announce(instance("connect-1"), nothing);
    await gone.join(["g:7"]);
    await other.join(["g:7"]);
    await a.expireLeases();
    assert.deepEqual(await b.locate(["g:7"]), [["connect-1"]]);
    assert.deepEqual(ids(await b.instances("connect")), ["connect-1"]);
    const successor = await b.announce(instance("connect-0"), nothing);
    await successor.join(["g:8"]);
    assert.deepEqual(await b.locate(["g:7", "g:8"]), [["connect-1"], ["connect-0"]]);
  });

  test("an instance whose entry was lost is notified, re-entered, and can join", async (t) => {
    const start = await world.open(t);
    const [a, b] = [await start(), (await start()).registry];
    const lost = Promise.withResolvers<void>();
    const lease = await a.registry.announce(instance("connect-0"), () => lost.resolve());
    await lease.join(["u:1"]);
    lease.update(12);
    await a.expireLeases();
    a.resume();
    await lost.promise;
    assert.deepEqual(await b.locate(["u:1"]), [[]]);
    await lease.join(["u:1"]);
    assert.deepEqual(await b.locate(["u:1"]), [["connect-0"]]);
    const [entered] = await (await start()).registry.instances("connect");
    assert.deepEqual(entered, instance("connect-0", { load: 12 }));
  });
}

function channelTests(world: RegistryWorld): void {
  test("locate returns the instances that joined each channel", async (t) => {
    const start = await world.open(t);
    const { registry } = await start();
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
    assert.deepEqual(await (await start()).registry.locate(["g:7", "u:1"]), [[], ["connect-0"]]);
    assert.deepEqual(await registry.locate([]), []);
    await a.join([]);
  });

  test("every process locates a new instance at once", async (t) => {
    const start = await world.open(t);
    const [a, b] = [(await start()).registry, (await start()).registry];
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

  test("thousands of channels are joined and left in one call", async (t) => {
    const start = await world.open(t);
    const { registry } = await start();
    const lease = await registry.announce(instance("connect-0"), nothing);
    const channels = Array.from({ length: 12_000 }, (_, i) => `u:${i}`);
    await lease.join(channels);
    const located = await registry.locate(channels);
    assert.ok(located.every((list) => list.length === 1));
    await lease.leave(channels);
    assert.ok((await registry.locate(channels)).every((list) => list.length === 0));
  });
}
