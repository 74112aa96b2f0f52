import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A broken scenario: a runner that passes it is broken itself. */
export interface Sabotage {
  readonly title: string;
  /** Expected output of the runner. */
  readonly says: RegExp;
  readonly vectors?: string;
  readonly scenario?: string;
}

const VECTOR = "- title: x\n  message: lucky.frame.v1.ServerFrame\n";
const CALL =
  "- title: x\n  call: lucky.auth.v1.AuthService/GetPublicKey\n  over: grpc\n  request: {}\n";

export const sabotages: readonly Sabotage[] = [
  { title: "nothing to run", says: /no step ran/ },
  { title: "an unknown operation", says: /unknown/, scenario: "- title: x\n  dance: ana\n" },
  { title: "an unknown key of a step", says: /know/, scenario: `${CALL}  expects: {}\n` },
  {
    title: "an unknown transport",
    says: /unknown transport/,
    scenario: CALL.replace("grpc", "smoke"),
  },
  {
    title: "a broken expectation",
    says: /expected/,
    scenario: `${CALL}  expect: { algorithm: "ROT13" }\n`,
  },
  {
    title: "an expected error that does not happen",
    says: /succeeded/,
    scenario: `${CALL}  error: { reason: INTERNAL }\n`,
  },
  {
    title: "bytes with another meaning",
    says: /x/,
    vectors: `${VECTOR}  json: {}\n  hex: "1a 00"\n`,
  },
  {
    title: "bytes that an encoder does not write",
    says: /x/,
    vectors: `${VECTOR}  json: { heartbeat: {} }\n  hex: "42 00 42 00"\n`,
  },
];

/** Calls `use` with a folder that contains the broken files. */
export async function withSabotage<T>(
  { vectors = "[]\n", scenario = "[]\n" }: Sabotage,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-conformance-"));
  try {
    await writeFile(join(folder, "vectors.yaml"), vectors);
    await writeFile(join(folder, "scenario.yaml"), scenario);
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
