import { createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { AuthService } from "../../gen/lucky/auth/v1/auth_pb.js";
import { CloseCode } from "../../gen/lucky/frame/v1/frame_pb.js";
import { RawDevice } from "../../test/raw.ts";
import { Histogram } from "../histogram.ts";
import { readMachine, readVersions } from "../machine.ts";
import type { Flags } from "../options.ts";
import { type Report, rounded } from "../report.ts";
import { scenario } from "../scenario.ts";
import {
  addressesOf,
  modeFlags,
  type System,
  shapeFigures,
  shapeOf,
  withSystem,
} from "../system.ts";
import { makeUsers, type User } from "../users.ts";

/** What is promised of the slowest of a hundred. */
const PROMISED_MS = 1_000;

export default scenario({
  summary: "logout elsewhere, by a call through the gateway, until the socket is closed",
  flags: {
    ...modeFlags,
    mode: { ...modeFlags.mode!, default: "mesh" },
    connects: { ...modeFlags.connects!, default: "3" },
    sessions: { default: "600", doc: "sessions, each of another user, all of them ended" },
    "at-once": { default: "8", doc: "logouts on their way at once" },
  },
  run: revoke,
});

async function revoke(flags: Flags): Promise<Report> {
  const machine = readMachine();
  return withSystem(shapeOf(flags), async (system) => {
    const { users, origin } = await makeUsers(system, flags.number("sessions"));
    const addresses = addressesOf(system, flags);
    const fromCall = new Histogram();
    const fromAnswer = new Histogram();
    const codes: Record<string, number> = {};
    const waiting = users.entries();
    const work = async () => {
      for (const [index, user] of waiting) {
        const ended = await endOne(system, user, addresses[index % addresses.length]!);
        fromCall.add(ended.fromCallMs * 1_000);
        fromAnswer.add(Math.max(0, ended.fromAnswerMs) * 1_000);
        const name = CloseCode[ended.code] ?? String(ended.code);
        codes[name] = (codes[name] ?? 0) + 1;
      }
    };
    await Promise.all(Array.from({ length: flags.number("at-once") }, work));
    const p99Ms = fromCall.percentile(0.99) / 1_000;
    const foreign = Object.keys(codes).filter((code) => code !== "TOKEN_REVOKED");
    return {
      figures: {
        ...shapeFigures(system),
        sessions: users.length,
        users_origin: origin,
        p50_ms: rounded(fromCall.percentile(0.5) / 1_000, 2),
        p99_ms: rounded(p99Ms, 2),
        max_ms: rounded(fromCall.percentile(1) / 1_000, 2),
        after_answer_p50_ms: rounded(fromAnswer.percentile(0.5) / 1_000, 2),
        after_answer_p99_ms: rounded(fromAnswer.percentile(0.99) / 1_000, 2),
        close_codes: codes,
        machine,
        versions: await readVersions({ ...system, mesh: system.mode === "mesh" }),
      },
      faults: [
        ...(p99Ms < PROMISED_MS ? [] : [`one in a hundred took ${Math.round(p99Ms)} ms`]),
        ...foreign.map((code) => `${codes[code]} sessions ended with ${code}`),
      ],
      limitedBy: undefined,
    };
  });
}

/** Opens a session, logs it out by a call, and waits for its end. */
async function endOne(system: System, { accessToken }: User, address: string) {
  const device = await RawDevice.hello(address, accessToken);
  const withToken: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${accessToken}`);
    return next(request);
  };
  const transport = createConnectTransport({
    baseUrl: system.url,
    httpVersion: "1.1",
    interceptors: [withToken],
  });
  const sinceMs = performance.now();
  const closed = device.closed.then(({ code }) => ({ code, atMs: performance.now() }));
  await createClient(AuthService, transport).logout({});
  const answeredMs = performance.now();
  const { code, atMs } = await closed;
  return { code, fromCallMs: atMs - sinceMs, fromAnswerMs: atMs - answeredMs };
}
