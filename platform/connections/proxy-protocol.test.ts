import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProxyHeader } from "./proxy-protocol.ts";

/** The signature, as the specification prints it. */
const SIGNATURE = "0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A";
/** 203.0.113.7:50123 → 192.0.2.1:443 */
const TCP4 = "CB 00 71 07 C0 00 02 01 C3 CB 01 BB";
/** [2001:db8::7]:50123 → [2001:db8:1::1]:443 */
const TCP6 =
  "20 01 0D B8 00 00 00 00 00 00 00 00 00 00 00 07 20 01 0D B8 00 01 00 00 00 00 00 00 00 00 00 01 C3 CB 01 BB";
/** A header of the same form for a client at ::ffff:203.0.113.7. */
const MAPPED =
  "00 00 00 00 00 00 00 00 00 00 FF FF CB 00 71 07 00 00 00 00 00 00 00 00 00 00 FF FF C0 00 02 01 C3 CB 01 BB";
/** The extension PP2_TYPE_NOOP with three bytes. */
const EXTENSION = "04 00 03 00 00 00";
const UNIX = Array(216).fill("2F").join(" ");

const bytes = (...hex: string[]) => Buffer.from(hex.join("").replaceAll(" ", ""), "hex");

const complete: Record<string, [header: Buffer, client: string | undefined]> = {
  "TCP over IPv4": [bytes(SIGNATURE, "21 11 00 0C", TCP4), "203.0.113.7"],
  "TCP over IPv6": [bytes(SIGNATURE, "21 21 00 24", TCP6), "2001:db8::7"],
  "IPv4 in the form of IPv6": [bytes(SIGNATURE, "21 21 00 24", MAPPED), "203.0.113.7"],
  "extensions after the addresses": [
    bytes(SIGNATURE, "21 11 00 12", TCP4, EXTENSION),
    "203.0.113.7",
  ],
  "LOCAL without addresses": [bytes(SIGNATURE, "20 00 00 00"), undefined],
  "LOCAL with addresses": [bytes(SIGNATURE, "20 11 00 0C", TCP4), undefined],
  "LOCAL with an unknown family": [bytes(SIGNATURE, "20 FF 00 06", EXTENSION), undefined],
};

for (const [name, [header, client]] of Object.entries(complete)) {
  test(`a header of ${name} tells ${client ?? "no client"}, in any number of pieces`, () => {
    const { length } = header;
    const request = Buffer.from("GET / HTTP/1.1\r\n");
    const parsed = parseProxyHeader(Buffer.concat([header, request]));
    assert.deepEqual(parsed, { kind: "complete", length, value: client });
    for (let end = 0; end < length; end++) {
      assert.equal(parseProxyHeader(header.subarray(0, end)).kind, "incomplete", `${end} bytes`);
    }
  });
}

const invalid: Record<string, Buffer> = {
  "an HTTP request": Buffer.from("GET / HTTP/1.1\r\n"),
  "the first byte of an HTTP request": Buffer.from("P"),
  "version 1": Buffer.from("PROXY TCP4 203.0.113.7 192.0.2.1 50123 443\r\n"),
  "a changed signature": bytes(SIGNATURE.replace("51", "52"), "21 11 00 0C", TCP4),
  "version 1 in binary": bytes(SIGNATURE, "11 11 00 0C", TCP4),
  "version 3": bytes(SIGNATURE, "31 11 00 0C", TCP4),
  "an unknown command": bytes(SIGNATURE, "22 11 00 0C", TCP4),
  "an unspecified family": bytes(SIGNATURE, "21 00 00 00"),
  "UDP over IPv4": bytes(SIGNATURE, "21 12 00 0C", TCP4),
  "UDP over IPv6": bytes(SIGNATURE, "21 22 00 24", TCP6),
  "a Unix socket": bytes(SIGNATURE, "21 31 00 D8", UNIX),
  "an IPv4 address cut short": bytes(SIGNATURE, "21 11 00 0B", TCP4),
  "IPv6 with the length of IPv4": bytes(SIGNATURE, "21 21 00 0C", TCP4),
  "more bytes than any proxy sends": bytes(SIGNATURE, "21 11 FF FF"),
};

for (const [name, header] of Object.entries(invalid)) {
  test(`${name} is not a valid header`, () => {
    assert.equal(parseProxyHeader(header).kind, "invalid");
  });
}
