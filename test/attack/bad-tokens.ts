import { generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import type { Sign } from "./signing.ts";

/** A token that every method must refuse, and the reason of the refusal. */
export interface BadToken {
  readonly what: string;
  readonly token: string | undefined;
  readonly reason: "TOKEN_INVALID" | "TOKEN_EXPIRED" | "TOKEN_REVOKED";
}

/**
 * Creates bad tokens, each with exactly one fault, from a valid one. `sign` signs with the system's
 * own key, so that the signature is not a second fault.
 */
export async function badTokens(valid: string, sign: Sign): Promise<BadToken[]> {
  const [head, payload, signature] = valid.split(".") as [string, string, string];
  const header = JSON.parse(Buffer.from(head, "base64url").toString());
  const claims: JWTPayload = JSON.parse(Buffer.from(payload, "base64url").toString());
  const foreign = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const byForeign = (kid: string) =>
    new SignJWT(claims).setProtectedHeader({ ...header, kid }).sign(foreign.privateKey);
  const bySecret = new SignJWT(claims)
    .setProtectedHeader({ ...header, alg: "HS256" })
    .sign(Buffer.from(header.kid));
  const forgedPayload = Buffer.from(JSON.stringify({ ...claims, sub: "1" })).toString("base64url");
  const second = Math.floor(Date.now() / 1_000);
  const bad = (what: string, token: string | undefined): BadToken => ({
    what,
    token,
    reason: "TOKEN_INVALID",
  });
  return [
    bad("no token", undefined),
    bad("not a JWT", "nonsense"),
    bad("signed by another key", await byForeign(header.kid)),
    bad("signed by an unknown key", await byForeign("unknown")),
    bad("signed with the public key id as HMAC secret", await bySecret),
    bad("alg none", new UnsecuredJWT(claims).encode()),
    bad("with another user under the old signature", `${head}.${forgedPayload}.${signature}`),
    bad("with a cut signature", valid.slice(0, -4)),
    bad("without a signature", `${head}.${payload}.`),
    bad("for another audience", await sign({ ...claims, aud: "somebody else" })),
    bad("of another issuer", await sign({ ...claims, iss: "somebody else" })),
    bad("not valid yet", await sign({ ...claims, nbf: second + 3_600 })),
    bad("without an expiry", await sign({ ...claims, exp: undefined })),
    bad("without a login", await sign({ ...claims, sid: undefined })),
    bad("with an unknown role", await sign({ ...claims, role: "root" })),
    {
      what: "expired",
      token: await sign({ ...claims, iat: second - 901, exp: second - 1 }),
      reason: "TOKEN_EXPIRED",
    },
  ];
}
