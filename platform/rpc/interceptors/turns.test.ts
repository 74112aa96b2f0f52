import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "#platform/errors.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { testService } from "#platform/rpc/rpc.fixture.ts";

/** A service whose changes and reads wait until the test answers them. */
async function waitingService() {
  const running: { readonly who: string; readonly answer: () => void }[] = [];
  let arrived = Promise.withResolvers<void>();
  const wait = (who: string) =>
    new Promise<object>((resolve) => {
      running.push({ who, answer: () => resolve({}) });
      arrived.resolve();
    });
  const service = await testService({
    user: {
      updateProfile: ({ signature }) => wait(signature ?? ""),
      getUser: ({ key }) => wait(`read ${key.value}`),
    },
  });
  const client = createClient(UserService, localTransport(service.served, service.interceptors));
  return {
    client,
    running,
    async headersOf(sub: string) {
      const token = await service.issuer.token({ sub });
      // A token that was verified before keeps the order of the calls.
      await service.issuer.verifier.verify(token);
      return { headers: { authorization: `Bearer ${token}` } };
    },
    /** Resolves when `count` calls have begun. */
    async begun(count: number): Promise<string[]> {
      while (running.length < count) {
        await arrived.promise;
        arrived = Promise.withResolvers();
      }
      return running.map(({ who }) => who);
    },
  };
}

const turnOfEventLoop = () => new Promise((resolve) => setImmediate(resolve));

test("a user's changes run one after the other, and another user's change does not wait", async () => {
  const { client, running, begun, headersOf } = await waitingService();
  const [ana, ben] = [await headersOf("1"), await headersOf("2")];
  const calls = ["a1", "a2", "a3"].map((signature) => client.updateProfile({ signature }, ana));
  await begun(1);
  const other = client.updateProfile({ signature: "b1" }, ben);
  assert.deepEqual(await begun(2), ["a1", "b1"]);
  running[0]!.answer();
  assert.deepEqual(await begun(3), ["a1", "b1", "a2"]);
  running[2]!.answer();
  assert.deepEqual(await begun(4), ["a1", "b1", "a2", "a3"]);
  running[1]!.answer();
  running[3]!.answer();
  await Promise.all([...calls, other]);
});

test("a call that is aborted while it waits gives up its turn", async () => {
  const { client, running, begun, headersOf } = await waitingService();
  const ana = await headersOf("1");
  const first = client.updateProfile({ signature: "a1" }, ana);
  await begun(1);
  const gone = new AbortController();
  const second = client.updateProfile({ signature: "a2" }, { ...ana, signal: gone.signal });
  const third = client.updateProfile({ signature: "a3" }, ana);
  await turnOfEventLoop();
  gone.abort();
  await assert.rejects(second);
  running[0]!.answer();
  assert.deepEqual(await begun(2), ["a1", "a3"]);
  running[1]!.answer();
  await Promise.all([first, third]);
});

test("four reads of a user run at once, and reads beyond a thousand waiting ones are refused", async () => {
  const { client, running, begun, headersOf } = await waitingService();
  const ana = await headersOf("1");
  const read = () => client.getUser({ key: { case: "userId", value: "7" } }, ana);
  const refused = Promise.withResolvers<void>();
  const reasons: string[] = [];
  const calls = Array.from({ length: 1_007 }, () =>
    read().catch((error: unknown) => {
      reasons.push(ErrorReason[reasonOf(error)]);
      if (reasons.length === 3) refused.resolve();
    }),
  );
  await refused.promise;
  assert.equal((await begun(4)).length, 4);
  for (let at = 0; at < calls.length - 3; at += 1) {
    await begun(at + 1);
    running[at]!.answer();
  }
  await Promise.all(calls);
  assert.deepEqual(reasons, ["OVERLOADED", "OVERLOADED", "OVERLOADED"]);
});
