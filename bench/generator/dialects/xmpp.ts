import type { Dialect, FrameHandler } from "./dialect.ts";
import { KEY_BYTES, readKey } from "./key.ts";
import { clientFrame, TEXT } from "./websocket.ts";

/** Domain that the compared server serves. */
export const DOMAIN = "localhost";

const LESS_THAN = "<".charCodeAt(0);
const GREATER_THAN = ">".charCodeAt(0);
const SLASH = "/".charCodeAt(0);
const EQUALS = "=".charCodeAt(0);
const SPACE = " ".charCodeAt(0);
const QUOTE = '"'.charCodeAt(0);
const APOSTROPHE = "'".charCodeAt(0);
const ZERO = "0".charCodeAt(0);
/** The server counts the presence as the first stanza; messages follow. */
const PRESENCE_COUNT = 1;

const stanza = (xml: string) => clientFrame(TEXT, Buffer.from(xml));

const open = stanza(
  `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="${DOMAIN}" version="1.0"/>`,
);
const bind = stanza(
  '<iq xmlns="jabber:client" type="set" id="bind">' +
    '<bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"><resource>bench</resource></bind></iq>',
);
const enable = stanza('<enable xmlns="urn:xmpp:sm:3"/>');
const presence = stanza('<presence xmlns="jabber:client"/>');
/** Asks how many stanzas the server has handled. */
const request = stanza('<r xmlns="urn:xmpp:sm:3"/>');

/**
 * The part of XMPP over a WebSocket (RFC 7395) that messages between pairs need. The password of a user is
 * the user's name.
 *
 * "Accepted" means the acknowledgement of XEP-0198: the server has handled the message. ejabberd handles the
 * stanzas of a session one at a time, and its archive (mod_mam) commits the sender's copy, one INSERT, before
 * it handles the next stanza. So ejabberd answers the `<r/>` after a message when the message is in the
 * sender's archive and in transit to the receiver: the same promise as Lucky's Accepted and as Socket.IO's
 * answer after its INSERT. Every message has its own `<r/>` because the other servers answer each message;
 * clients that show a check mark for each message do the same. ejabberd writes the receiver's copy before it
 * delivers the message, and the scenario counts the archive at the end.
 *
 * Received stanzas are acknowledged by count, in batches like Lucky's acknowledgements.
 */
export const xmpp: Dialect = {
  path: "/ws",
  protocol: "xmpp",

  /**
   * Sends all stanzas of the login together. The server handles them one at a time, and ends the session when
   * it refuses one. The answer to the last one is the welcome.
   */
  hello(token) {
    const login = Buffer.from(`\0${token}\0${token}`).toString("base64");
    const auth = stanza(
      `<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">${login}</auth>`,
    );
    return Buffer.concat([open, auth, open, bind, enable, presence, request]);
  },

  heartbeat: request,

  sendTemplate({ id }, text) {
    const key = "0".repeat(KEY_BYTES);
    const message = stanza(
      `<message xmlns="jabber:client" id="${key}" type="chat" to="${escaped(id)}@${DOMAIN}">` +
        `<body>${escaped(text)}</body></message>`,
    );
    return { frame: Buffer.concat([message, request]), keyAt: message.indexOf(key) };
  },

  acknowledge: (_conversation, count) => stanza(`<a xmlns="urn:xmpp:sm:3" h="${count}"/>`),

  read(bytes, from, to, handler) {
    for (let at = from; at < to; ) {
      const end = elementEnd(bytes, at, to);
      readElement(bytes, at, end, handler);
      at = end;
    }
  },
};

function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

const elements = {
  message: Buffer.from("message"),
  answer: Buffer.from("a"),
  request: Buffer.from("r"),
  presence: Buffer.from("presence"),
};
const STANZA_ID = Buffer.from("<stanza-id ");
const attributes = {
  id: Buffer.from("id"),
  type: Buffer.from("type"),
  h: Buffer.from("h"),
};
/** Answers during the login, which are skipped; only the answer to its last stanza is handled. */
const STEPS = /^<(open|stream:features|success|enabled|iq (?=[^>]*type=.result.))/;
const ERROR = Buffer.from("error");

function readElement(bytes: Buffer, from: number, to: number, handler: FrameHandler): void {
  if (isNamed(bytes, from, elements.message)) readMessage(bytes, from, to, handler);
  else if (isNamed(bytes, from, elements.answer)) readAnswer(bytes, from, to, handler);
  else if (isNamed(bytes, from, elements.presence))
    handler.entry(++handler.stanzas.received, bytes, to, to);
  else if (!isNamed(bytes, from, elements.request)) {
    const text = bytes.toString("utf8", from, to);
    // The only expected result answers the bind, before the server counts stanzas.
    if (!STEPS.test(text)) throw new Error(`the server sent ${text}`);
  }
}

/** The id of a message is its key; a child element contains its position in the archive (XEP-0359). */
function readMessage(bytes: Buffer, from: number, to: number, handler: FrameHandler): void {
  handler.entry(++handler.stanzas.received, bytes, to, to);
  const typeAt = attributeAt(bytes, from, to, attributes.type);
  if (typeAt > 0 && startsWith(bytes, typeAt, ERROR)) {
    throw new Error(`a message was returned: ${bytes.toString("utf8", from, to)}`);
  }
  const keyAt = attributeAt(bytes, from, to, attributes.id);
  if (keyAt < 0 || !readKey(bytes, keyAt, handler.key)) return;
  const positionAt = bytes.indexOf(STANZA_ID, from);
  if (positionAt < 0 || positionAt >= to)
    throw new Error("a delivered message is not in the archive");
  handler.delivered(numberAt(bytes, attributeAt(bytes, positionAt, to, attributes.id)));
}

/** `<a h="…"/>`: the number of own stanzas that the server has handled. */
function readAnswer(bytes: Buffer, from: number, to: number, handler: FrameHandler): void {
  const { stanzas } = handler;
  const count = numberAt(bytes, attributeAt(bytes, from, to, attributes.h));
  while (stanzas.confirmed < count) {
    stanzas.confirmed++;
    if (stanzas.confirmed === PRESENCE_COUNT) handler.welcome();
    else handler.accepted();
  }
}

/**
 * End of the element that begins at `from`. RFC 7395 allows one element per frame; this reader accepts
 * several.
 */
function elementEnd(bytes: Buffer, from: number, to: number): number {
  let depth = 0;
  let at = from;
  while (at < to) {
    if (bytes[at] !== LESS_THAN) {
      if (depth === 0) break;
      at++;
      continue;
    }
    const end = tagEnd(bytes, at, to);
    if (bytes[at + 1] === SLASH) depth--;
    else if (bytes[end - 1] !== SLASH) depth++;
    at = end + 1;
    if (depth === 0) return at;
  }
  throw new Error(`an incomplete element: ${bytes.toString("utf8", from, to)}`);
}

/** Offset of the ">" that ends a tag, outside of quotes. */
function tagEnd(bytes: Buffer, from: number, to: number): number {
  let quote = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    if (quote !== 0) {
      if (byte === quote) quote = 0;
    } else if (byte === QUOTE || byte === APOSTROPHE) {
      quote = byte;
    } else if (byte === GREATER_THAN) {
      return at;
    }
  }
  return to;
}

/** Offset of the value of an attribute of the tag at `from`; -1 when the tag lacks it. */
function attributeAt(bytes: Buffer, from: number, to: number, name: Buffer): number {
  let quote = 0;
  for (let at = from; at < to; at++) {
    const byte = bytes[at]!;
    if (quote !== 0) {
      if (byte === quote) quote = 0;
    } else if (byte === QUOTE || byte === APOSTROPHE) {
      quote = byte;
    } else if (byte === GREATER_THAN) {
      return -1;
    } else if (
      byte === EQUALS &&
      bytes[at - name.length - 1] === SPACE &&
      startsWith(bytes, at - name.length, name)
    ) {
      return at + 2;
    }
  }
  return -1;
}

function isNamed(bytes: Buffer, from: number, name: Buffer): boolean {
  if (!startsWith(bytes, from + 1, name)) return false;
  const after = bytes[from + 1 + name.length];
  return after === SPACE || after === SLASH || after === GREATER_THAN;
}

function startsWith(bytes: Buffer, at: number, start: Buffer): boolean {
  for (let i = 0; i < start.length; i++) if (bytes[at + i] !== start[i]) return false;
  return true;
}

/** The decimal number at an offset, up to the first other character. */
function numberAt(bytes: Buffer, at: number): number {
  if (at < 0) throw new Error("a number is missing");
  let value = 0;
  for (let i = at; ; i++) {
    const digit = bytes[i]! - ZERO;
    if (!(digit >= 0 && digit <= 9)) return value;
    value = value * 10 + digit;
  }
}
