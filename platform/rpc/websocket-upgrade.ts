/** Headers of a request by lower-case name, each with all of its values. */
export type RequestHeaders = Readonly<Record<string, readonly string[] | undefined>>;

/** Headers that must occur exactly once, each with the form of its value. */
const REQUIRED = [
  { name: "Host", valid: /./, form: "a host" },
  { name: "Upgrade", valid: /^websocket$/i, form: '"websocket"' },
  { name: "Sec-WebSocket-Key", valid: /^[A-Za-z0-9+/]{22}==$/, form: "16 bytes in base64" },
  { name: "Sec-WebSocket-Version", valid: /^13$/, form: '"13"' },
].map((header) => ({ ...header, key: header.name.toLowerCase() }));

/** Headers that may be absent, but must not occur twice. */
const OPTIONAL = ["Origin", "Authorization"].map((name) => ({ name, key: name.toLowerCase() }));

/**
 * Why these are not the headers of a request for a WebSocket (RFC 6455, section 4.2.1): a sentence
 * for the developer of the client; undefined when they are.
 *
 * A header that occurs twice has a different value for each reader: one takes the first, another one
 * both. A body has a different length. The gateway and connect therefore refuse both, so that they
 * never disagree about an upgrade.
 */
export function upgradeFault(headers: RequestHeaders): string | undefined {
  for (const { name, key, valid, form } of REQUIRED) {
    const values = headers[key] ?? [];
    if (values.length !== 1) return `An upgrade needs exactly one ${name} header.`;
    if (!valid.test(values[0]!)) return `The header ${name} must be ${form}.`;
  }
  for (const { name, key } of OPTIONAL) {
    if ((headers[key]?.length ?? 0) > 1) return `An upgrade has at most one ${name} header.`;
  }
  const hasLength = headers["content-length"]?.some((length) => length !== "0");
  if (hasLength || headers["transfer-encoding"]) return "An upgrade has no body.";
  return undefined;
}
