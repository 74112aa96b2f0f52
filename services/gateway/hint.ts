import { hkdfSync } from "node:crypto";
import { decryptAesGcm, encryptAesGcm, OVERHEAD_BYTES } from "#platform/aes-gcm.ts";
import type { Clock } from "#platform/clock.ts";

/** Creates and reads hints: opaque texts that route a WebSocket to an instance. */
export interface Hints {
  /** A hint that names an instance: URL-safe, valid for `lifetimeMs`. */
  seal(instanceId: string): string;
  /** The instance that a hint names; undefined when it is forged, damaged or expired. */
  open(hint: string): string | undefined;
}

export interface HintOptions {
  /** Shared by all gateways, so that each reads the hints of the others. */
  readonly secret: string;
  readonly lifetimeMs: () => number;
  readonly clock: Clock;
}

const EXPIRY_BYTES = 8;
/**
 * Maximum length of a hint, far above that of any valid hint; longer texts are rejected without
 * decoding.
 */
const MAX_HINT_CHARS = 512;

/**
 * Hints are encrypted (AES-256-GCM): a URL in a log reveals neither the user nor the names inside
 * the mesh, and a client cannot direct load by forging hints.
 */
export function createHints(options: HintOptions): Hints {
  const key = Buffer.from(hkdfSync("sha256", options.secret, "", "lucky gateway hint", 32));

  return {
    seal(instanceId) {
      const expiry = Buffer.alloc(EXPIRY_BYTES);
      expiry.writeBigInt64BE(BigInt(options.clock.now() + options.lifetimeMs()));
      const plaintext = Buffer.concat([expiry, Buffer.from(instanceId)]);
      return Buffer.from(encryptAesGcm(key, plaintext, "")).toString("base64url");
    },

    open(hint) {
      if (hint.length > MAX_HINT_CHARS) return undefined;
      const bytes = Buffer.from(hint, "base64url");
      if (bytes.length <= OVERHEAD_BYTES + EXPIRY_BYTES) return undefined;
      let plaintext: Buffer;
      try {
        plaintext = decryptAesGcm(key, bytes, "");
      } catch {
        // GCM rejects every text that was not encrypted under this secret.
        return undefined;
      }
      if (Number(plaintext.readBigInt64BE()) < options.clock.now()) return undefined;
      return plaintext.toString("utf8", EXPIRY_BYTES);
    },
  };
}
