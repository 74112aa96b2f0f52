import { pathToString } from "@bufbuild/protobuf/reflect";
import { CloseCode, type Hello, HelloSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { createMessageValidator } from "#platform/validation/validator.ts";
import type { KickNotice } from "../socket/session.ts";

export interface ClientRulesConfig {
  readonly minProtocolRevision: number;
  /** "name=version", each. */
  readonly minClientVersions: readonly string[];
  readonly clientTooOldText: string;
  readonly upgradeUrl: string;
}

/** Why a session is not opened: arguments of `Session.end`. */
export interface HelloRefusal {
  readonly code: CloseCode;
  readonly text: string;
  readonly notice?: KickNotice;
}

/** The name of the rule for all clients without a rule of their own. */
const ANY = "*";

/**
 * Creates the check of a Hello: its constraints, and the operator's rules for clients that are too old.
 * The check returns undefined for a Hello that is admitted.
 */
export function createClientRules(
  config: ClientRulesConfig,
): (hello: Hello) => HelloRefusal | undefined {
  /** The minima of the rules; the rules change rarely. */
  let minima = minimaOf(config.minClientVersions);
  let rules = config.minClientVersions;
  const currentMinima = () => {
    if (rules !== config.minClientVersions) {
      rules = config.minClientVersions;
      minima = minimaOf(rules);
    }
    return minima;
  };
  const validator = createMessageValidator();
  const tooOld = (why: string): HelloRefusal => ({
    code: CloseCode.CLIENT_TOO_OLD,
    text: why,
    notice: { text: config.clientTooOldText, upgradeUrl: config.upgradeUrl },
  });

  return (hello) => {
    const result = validator.validate(HelloSchema, hello);
    if (result.kind === "error") throw result.error;
    if (result.kind === "invalid") {
      const [first] = result.violations;
      const where = first === undefined ? "" : pathToString(first.field);
      return { code: CloseCode.PROTOCOL_ERROR, text: `Hello: ${where}: ${first?.message}` };
    }
    const { minProtocolRevision } = config;
    if (Math.max(1, hello.protocolRevision) < minProtocolRevision)
      return tooOld(`the protocol revision must be at least ${minProtocolRevision}`);
    const minimum = minimumFor(hello, currentMinima());
    return minimum && isOlder(hello.clientVersion, minimum)
      ? tooOld(`the client's version must be at least ${minimum}`)
      : undefined;
  };
}

/** Minimum versions by client name. */
function minimaOf(rules: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    rules.map((rule) => {
      const [name = "", version = ""] = rule.split("=");
      return [name, version];
    }),
  );
}

/**
 * The minimum version for a client; undefined when it is admitted in any version. Clients without a rule
 * of their own, and clients that do not tell their version, fall under the rule for all others.
 */
function minimumFor(
  { clientName, clientVersion }: Hello,
  minima: ReadonlyMap<string, string>,
): string | undefined {
  const own = clientVersion === "" ? undefined : minima.get(clientName);
  return own ?? minima.get(ANY);
}

/**
 * Whether a version is older than another one. They are compared number by number; a missing number is
 * 0, and what follows - or + is not compared. An empty version is older than any other.
 */
function isOlder(version: string, minimum: string): boolean {
  if (version === "") return true;
  const [numbers, needed] = [numbersOf(version), numbersOf(minimum)];
  for (let at = 0; at < Math.max(numbers.length, needed.length); at++) {
    const [one, other] = [numbers[at] ?? 0n, needed[at] ?? 0n];
    if (one !== other) return one < other;
  }
  return false;
}

/** The numbers of a version. They may be longer than 2^53: some clients count in dates and times. */
function numbersOf(version: string): bigint[] {
  return version.split(/[-+]/, 1)[0]!.split(".").map(BigInt);
}
