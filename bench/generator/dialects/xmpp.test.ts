import assert from "node:assert/strict";
import { test } from "node:test";
import type { FrameHandler } from "./dialect.ts";
import { type MessageKey, writeKey } from "./key.ts";
import { FrameReader } from "./websocket.ts";
import { xmpp } from "./xmpp.ts";

const key: MessageKey = { timeUs: 1_795_449_600_123_456, user: 7, number: 42 };
const keyText = (() => {
  const bytes = Buffer.alloc(29);
  writeKey(bytes, 0, key);
  return bytes.toString("latin1");
})();

/** Payloads of a client's frames. */
function stanzasIn(frames: Buffer): string[] {
  const stanzas: string[] = [];
  const reader = new FrameReader((opcode, bytes, from, to) => {
    stanzas.push(bytes.toString("utf8", from, to));
    assert.equal(opcode, 1, "XMPP is text");
  });
  let at = 0;
  while (at < frames.length) {
    const short = frames[at + 1]! & 0x7f;
    const head = short < 126 ? 2 : 4;
    const length = short < 126 ? short : frames.readUInt16BE(at + 2);
    const end = at + head + 4 + length;
    assert.deepEqual([...frames.subarray(at + head, at + head + 4)], [0, 0, 0, 0]);
    // Without its mask, the frame can be parsed like a server's frame.
    const plain = Buffer.concat([
      frames.subarray(at, at + head),
      frames.subarray(at + head + 4, end),
    ]);
    plain[1]! &= 0x7f;
    reader.read(plain);
    at = end;
  }
  return stanzas;
}

/** A handler that records its calls. */
function record() {
  const calls: unknown[] = [];
  const device: FrameHandler = {
    key: { timeUs: 0, user: 0, number: 0 },
    stanzas: { received: 0, confirmed: 0 },
    welcome: () => calls.push("welcome"),
    accepted: () => calls.push("accepted"),
    refused: () => calls.push("refused"),
    entry: (count) => calls.push(["received", count]),
    delivered: (sequence) => calls.push(["delivered", sequence, { ...device.key }]),
    syncRequired: () => calls.push("syncRequired"),
    answered: () => calls.push("answered"),
  };
  return {
    calls,
    /** Reads a frame that has other bytes around it, as in a read buffer. */
    read(frame: string) {
      const bytes = Buffer.from(frame);
      const chunk = Buffer.concat([Buffer.from('<a h="9"/>'), bytes, Buffer.from("<stanza-id id")]);
      xmpp.read(chunk, 10, 10 + bytes.length, device);
    },
  };
}

/** A message as ejabberd delivers it. */
const delivered = (options: { id?: string; position?: string; inside?: string } = {}) =>
  "<message xml:lang='en' to='8@localhost/bench' from='7@localhost/bench' type='chat' " +
  `id='${options.id ?? keyText}' xmlns='jabber:client'>` +
  "<archived by='8@localhost' id='5' xmlns='urn:xmpp:mam:tmp'/>" +
  `<stanza-id by='8@localhost' id='${options.position ?? "1795449600123456"}' xmlns='urn:xmpp:sid:0'/>` +
  `<body>id=&apos;1&apos; &gt; a</body>${options.inside ?? ""}</message>`;

const ENABLED = "<enabled xmlns='urn:xmpp:sm:3'/>";
const answer = (count: number) => `<a h='${count}' xmlns='urn:xmpp:sm:3'/>`;

test("the login has one stanza in each frame: stream, PLAIN, stream, bind, enable, presence, request", () => {
  const stanzas = stanzasIn(xmpp.hello("12"));
  assert.deepEqual(
    stanzas.map((stanza) => /^<(\S+?)[ >]/.exec(stanza)?.[1]),
    ["open", "auth", "open", "iq", "enable", "presence", "r"],
  );
  const login = />(.+)</.exec(stanzas[1]!)?.[1] ?? "";
  assert.equal(Buffer.from(login, "base64").toString(), "\0" + "12" + "\0" + "12");
});

test("a request for an acknowledgement follows a message", () => {
  const target = { kind: "user", id: "8" } as const;
  const { frame, keyAt } = xmpp.sendTemplate(target, "x".repeat(128));
  writeKey(frame, keyAt, key);
  assert.deepEqual(stanzasIn(frame), [
    `<message xmlns="jabber:client" id="${keyText}" type="chat" to="8@localhost">` +
      `<body>${"x".repeat(128)}</body></message>`,
    '<r xmlns="urn:xmpp:sm:3"/>',
  ]);
});

test("text and names are escaped", () => {
  const { frame } = xmpp.sendTemplate({ kind: "user", id: '"&' }, "<b> & ]]> ü");
  const [message] = stanzasIn(frame);
  assert.match(message!, /to="&quot;&amp;@localhost"/);
  assert.match(message!, /<body>&lt;b&gt; &amp; \]\]&gt; ü<\/body>/);
});

test("received stanzas are acknowledged by count", () => {
  const frame = xmpp.acknowledge(Buffer.alloc(0), 300)!;
  assert.deepEqual(stanzasIn(frame), ['<a xmlns="urn:xmpp:sm:3" h="300"/>']);
});

test("the confirmed presence is the welcome; every further confirmed stanza is an accepted message", () => {
  const { calls, read } = record();
  read("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='localhost' id='1' version='1.0'/>");
  read(
    "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind/></stream:features>",
  );
  read("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
  read(
    "<iq type='result' id='bind' xmlns='jabber:client'><bind><jid>1@localhost/a</jid></bind></iq>",
  );
  read(ENABLED);
  assert.deepEqual(calls, []);
  read(answer(1));
  assert.deepEqual(calls, ["welcome"]);
  read(answer(2));
  read(answer(2));
  read(answer(5));
  assert.deepEqual(calls, ["welcome", ...Array(4).fill("accepted")]);
});

test("a delivery is read: key, and position in the archive", () => {
  const { calls, read } = record();
  read(delivered());
  read("<r xmlns='urn:xmpp:sm:3'/>");
  read("<presence from='8@localhost/bench' xmlns='jabber:client'/>");
  read(delivered({ position: "1795449600123457" }));
  assert.deepEqual(calls, [
    ["received", 1],
    ["delivered", 1_795_449_600_123_456, key],
    ["received", 2],
    ["received", 3],
    ["delivered", 1_795_449_600_123_457, key],
  ]);
});

test("several stanzas in a frame are read one by one, with nested elements skipped", () => {
  const { calls, read } = record();
  const inside = `<forwarded><message id="a>b/>" type='error'><body/></message></forwarded>`;
  read(delivered({ inside }) + answer(2) + delivered({ position: "6" }));
  assert.deepEqual(calls, [
    ["received", 1],
    ["delivered", 1_795_449_600_123_456, key],
    "welcome",
    "accepted",
    ["received", 2],
    ["delivered", 6, key],
  ]);
});

test("a message that the bench did not send only counts as a received stanza", () => {
  const { calls, read } = record();
  read(delivered({ id: "welcome" }));
  read("<message from='localhost' xmlns='jabber:client'><body>id='x'</body></message>");
  assert.deepEqual(calls, [
    ["received", 1],
    ["received", 2],
  ]);
});

test("stanzas that end a run or falsify its figures are errors", () => {
  const errors = {
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>":
      /not-authorized/,
    "<failed xmlns='urn:xmpp:sm:3'/>": /failed/,
    "<stream:error><policy-violation/></stream:error>": /policy-violation/,
    "<iq type='get' id='1' xmlns='jabber:client'><ping/></iq>": /ping/,
    "<a xmlns='urn:xmpp:sm:3'/>": /number/,
    "<message type='error' id='1'><error/></message>": /was returned/,
    [`<message id='${keyText}'><body>a</body></message>`]: /is not in the archive/,
    "<message id='1'><body>": /an incomplete element/,
    "<message id='1": /an incomplete element/,
    text: /an incomplete element/,
  };
  for (const [frame, message] of Object.entries(errors)) {
    assert.throws(() => record().read(frame), message, frame);
  }
});
