import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { detailOf, fail, invalidField, reasonOf } from "#platform/errors.ts";
import { refused, type Start } from "./transport.fixture.ts";

/** Errors of unary calls. */
export function errorSuite(name: string, start: Start): void {
  test(`${name}: an error of the contract keeps code, reason, text and retry time, and loses its cause`, async (t) => {
    const { auth } = await start(t, {
      auth: {
        getPublicKey() {
          const cause = new Error("the database password is hunter2");
          throw fail(ErrorReason.OVERLOADED, "at the bound", { retryAfterMs: 1_500, cause });
        },
      },
    });
    const error = await refused(auth.getPublicKey({}));
    assert.equal(error.code, Code.ResourceExhausted);
    assert.equal(error.rawMessage, "at the bound");
    assert.equal(detailOf(error)?.reason, ErrorReason.OVERLOADED);
    assert.equal(detailOf(error)?.retryAfterMs, 1_500n);
    assert.equal(error.cause, undefined);
  });

  test(`${name}: any other error becomes a bland INTERNAL, with its cause only in the log`, async (t) => {
    const { auth, lines } = await start(t, {
      auth: {
        getPublicKey() {
          throw new TypeError("hunter2");
        },
      },
    });
    const error = await refused(auth.getPublicKey({}));
    assert.equal(error.code, Code.Internal);
    assert.equal(reasonOf(error), ErrorReason.INTERNAL);
    assert.equal(error.rawMessage, "internal error");
    assert.equal(error.cause, undefined);
    const line = lines.find(({ event }) => event === "rpc");
    assert.equal(line?.level, "error");
    assert.match(JSON.stringify(line.err), /TypeError.*hunter2/);
  });

  test(`${name}: a broken constraint is INVALID_ARGUMENT and names the field`, async (t) => {
    const { auth } = await start(t, {});
    const password = { keyId: "k", ciphertext: new Uint8Array(256) };
    const error = await refused(auth.register({ userName: "a", password }));
    assert.equal(reasonOf(error), ErrorReason.INVALID_ARGUMENT);
    assert.match(error.rawMessage, /^user_name: /);
    assert.equal(detailOf(error)?.field, "user_name");
    const without = await refused(auth.register({ userName: "ana" }));
    assert.match(without.rawMessage, /^password: /);
    assert.equal(detailOf(without)?.field, "password");
  });

  test(`${name}: an error of the contract keeps the field that a service named`, async (t) => {
    const { auth } = await start(t, {
      auth: {
        getPublicKey() {
          throw invalidField("device.device_name", "must not hold control characters");
        },
      },
    });
    const error = await refused(auth.getPublicKey({}));
    assert.equal(error.rawMessage, "device.device_name: must not hold control characters");
    assert.equal(detailOf(error)?.field, "device.device_name");
    assert.equal(detailOf(error)?.retryAfterMs, 0n);
  });

  test(`${name}: an outage without a retry time gets one`, async (t) => {
    const { auth } = await start(t, {
      auth: {
        getPublicKey() {
          throw fail(ErrorReason.UNAVAILABLE, "away");
        },
      },
    });
    const error = await refused(auth.getPublicKey({}));
    assert.equal(detailOf(error)?.retryAfterMs, 1_000n);
  });

  test(`${name}: a method without an implementation is METHOD_NOT_FOUND`, async (t) => {
    const { auth } = await start(t, {});
    const error = await refused(auth.getJwks({}));
    assert.equal(error.code, Code.Unimplemented);
    assert.equal(reasonOf(error), ErrorReason.METHOD_NOT_FOUND);
  });
}
