/** node:timers/promises, and Node's global setImmediate, for a page. */

const waiting: (() => void)[] = [];
const channel = new MessageChannel();
// A message is a task of its own, which comes after those that are queued already.
channel.port1.onmessage = () => waiting.shift()?.();

function queue(run: () => void): void {
  waiting.push(run);
  channel.port2.postMessage(undefined);
}

export function setImmediate(): Promise<void> {
  return new Promise(queue);
}

Object.assign(globalThis, {
  setImmediate: (run: (...values: unknown[]) => void, ...values: unknown[]) =>
    queue(() => run(...values)),
});
