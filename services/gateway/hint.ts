import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
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
  readonly lifetimeMs: number;
  readonly clock: Clock;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
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
      const nonce = randomBytes(NONCE_BYTES);
      const expiry = Buffer.alloc(EXPIRY_BYTES);
      expiry.writeBigInt64BE(BigInt(options.clock.now() + options.lifetimeMs));
      const cipher = createCipheriv("aes-256-gcm", key, nonce);
      const sealed = [cipher.update(expiry), cipher.update(instanceId, "utf8"), cipher.final()];
      return Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]).toString("base64url");
    },

    open(hint) {
      if (hint.length > MAX_HINT_CHARS) return undefined;
      const bytes = Buffer.from(hint, "base64url");
      if (bytes.length <= NONCE_BYTES + EXPIRY_BYTES + TAG_BYTES) return undefined;
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      const sealed = bytes.subarray(NONCE_BYTES, -TAG_BYTES);
      let plain: Buffer;
      try {
        plain = Buffer.concat([decipher.update(sealed), decipher.final()]);
      } catch {
        // GCM rejects every text that was not encrypted under this secret.
        return undefined;
      }
      if (Number(plain.readBigInt64BE()) < options.clock.now()) return undefined;
      return plain.toString("utf8", EXPIRY_BYTES);
    },
  };
}
