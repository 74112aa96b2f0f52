import assert from "node:assert/strict";
import { test } from "node:test";
import { onDataFolder } from "./data-folder.ts";

const failing = (error: Error) => onDataFolder("/data", () => Promise.reject(error));
const system = (code: string, syscall: string) =>
  Object.assign(new Error(`${code}: it failed`), { code, syscall });

test("errors of the file system say what is wrong with the data folder", async () => {
  await assert.rejects(failing(system("ENOSPC", "write")), /^Error: The disk of \/data is full\. /);
  await assert.rejects(failing(system("EROFS", "open")), /file system of \/data is read-only/);
  await assert.rejects(failing(system("EACCES", "mkdir")), /\/data cannot be used: permission/);
  const initdb = new Error("initdb failed: could not extend file. HINT:  Check free disk space.");
  await assert.rejects(failing(initdb), ({ message, cause }: Error) => {
    assert.match(message, /^The disk of \/data is full/);
    return cause === initdb;
  });
});

test("other errors stay as they are", async () => {
  for (const error of [new Error("something else"), system("EACCES", "spawn setpriv")])
    await assert.rejects(failing(error), (found) => found === error);
});
