import { type ConfigOf, defineConfig, setting } from "../../platform/config.ts";

/** Settings of auth. Read from LUCKY_AUTH_<KEY>. */
export const authConfig = defineConfig("auth", {
  port: setting.integer({
    default: 8084,
    min: 0,
    max: 65_535,
    doc: "Port of auth's RPC; 0 for any free one.",
  }),
  keyEncryptionKey: setting.text({
    default: "",
    secret: true,
    doc: "Key that auth's private keys are encrypted with in the database: 32 bytes in base64 (openssl rand -base64 32), the same for all instances of auth. Needed by the mesh; in one process it is made at the first start.",
  }),
  postgresConnections: setting.integer({
    default: 8,
    min: 2,
    max: 1_000,
    unit: "connections",
    doc: "Connections to PostgreSQL, at most.",
  }),
  accessTokenSeconds: setting.integer({
    default: 900,
    min: 10,
    max: 86_400,
    unit: "s",
    doc: "How long an access token is good.",
  }),
  refreshTokenSeconds: setting.integer({
    default: 2_592_000,
    min: 60,
    max: 31_536_000,
    unit: "s",
    doc: "How long a refresh token is good when it is not used.",
  }),
  refreshGraceMs: setting.integer({
    default: 10_000,
    min: 0,
    max: 60_000,
    unit: "ms",
    doc: "A used refresh token that comes again within this time is refused without ending the login: the answer may have been lost.",
  }),
  passwordKeyBits: setting.integer({
    default: 3_072,
    min: 2_048,
    max: 4_096,
    unit: "bits",
    doc: "Size of the RSA key that passwords travel under, when it is made at the first start.",
  }),
  hashMemoryKib: setting.integer({
    default: 19_456,
    min: 8_192,
    max: 1_048_576,
    unit: "KiB",
    doc: "Memory of one password hash (Argon2id).",
  }),
  hashIterations: setting.integer({
    default: 2,
    min: 1,
    max: 100,
    doc: "Passes of one password hash (Argon2id).",
  }),
  maxHashing: setting.integer({
    default: 128,
    min: 1,
    max: 10_000,
    unit: "passwords",
    doc: "Passwords that are hashed or wait for it. One more is refused with OVERLOADED.",
  }),
});
export type AuthConfig = ConfigOf<typeof authConfig>;
