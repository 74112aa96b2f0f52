import type { Lucky } from "./lucky.ts";

const TIMEOUT_MS = 3_000;

/** Says how a connection from a pod to a Service ends: "open" or "refused". */
async function connect(lucky: Lucky, from: string, { host, port }: { host: string; port: number }) {
  const program = `const s = require("node:net").connect(${port}, "${host}");
    const end = (text) => { console.log(text); process.exit(0); };
    s.once("connect", () => end("open")).once("error", () => end("refused"));
    setTimeout(() => end("refused"), ${TIMEOUT_MS});`;
  const [pod] = await lucky.pods(from);
  return (
    await lucky.kubectl("exec", pod!, "--container=lucky", "--", "node", "-e", program)
  ).trim();
}

/** Checks connections that the NetworkPolicies allow, and others that they refuse. */
export async function checkPolicies(lucky: Lucky): Promise<void> {
  const postgres = { host: "postgres", port: 5432 };
  const redis = { host: "redis", port: 6379 };
  const api = { host: "10.96.0.1", port: 443 };
  const expected = [
    ["server", postgres, "open"],
    ["gateway", redis, "open"],
    ["gateway", postgres, "refused"],
    ["connect", postgres, "refused"],
    ["auth", api, "refused"],
  ] as const;
  for (const [from, to, result] of expected) {
    const actual = await connect(lucky, from, to);
    if (actual !== result)
      throw new Error(`${from} → ${to.host}:${to.port} is ${actual}, not ${result}`);
  }
}
