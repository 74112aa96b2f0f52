import assert from "node:assert/strict";
import { type IncomingHttpHeaders, request } from "node:http";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import {
  brotliCompressSync,
  brotliDecompressSync,
  gunzipSync,
  gzipSync,
  type InputType,
} from "node:zlib";
import { BROTLI_OPTIONS, COMPRESS_MIN_BYTES, GZIP_OPTIONS } from "./compression.ts";
import { CALL, start } from "./listen.fixture.ts";

/** Varied text, whose compressed bytes differ from level to level. */
const TEXT = Array.from({ length: 20_000 }, (_, i) => `${(i * 7_919) % 10_007} `).join("");

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Sends a Connect request as JSON. Returns the answer as it was sent, not decoded. */
async function post(
  address: string,
  headers: Record<string, string>,
  body: InputType = "{}",
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const options = { method: "POST", headers: { "content-type": "application/json", ...headers } };
  request(`${address}${CALL}`, options, (res) => {
    buffer(res).then(
      (bytes) => resolve({ status: res.statusCode, headers: res.headers, body: bytes }),
      reject,
    );
  })
    .on("error", reject)
    .end(body);
  return promise;
}

const ENCODINGS = {
  br: {
    compress: (bytes: InputType) => brotliCompressSync(bytes, BROTLI_OPTIONS),
    byDefault: (bytes: InputType) => brotliCompressSync(bytes),
    decompress: brotliDecompressSync,
  },
  gzip: {
    compress: (bytes: InputType) => gzipSync(bytes, GZIP_OPTIONS),
    byDefault: (bytes: InputType) => gzipSync(bytes),
    decompress: gunzipSync,
  },
};

for (const [name, { compress, byDefault, decompress }] of Object.entries(ENCODINGS)) {
  test(`a large answer is compressed by ${name} at a low level`, async (t) => {
    const { address } = await start(t, {
      service: { auth: { getJwks: () => ({ jwksJson: TEXT }) } },
    });
    const { headers, body } = await post(address, { "accept-encoding": name });
    assert.equal(headers["content-encoding"], name);
    const decoded = decompress(body);
    assert.deepEqual(JSON.parse(decoded.toString()), { jwksJson: TEXT });
    assert.ok(body.equals(compress(decoded)));
    assert.ok(!body.equals(byDefault(decoded)));
  });

  test(`a small answer is not compressed by ${name}`, async (t) => {
    const jwksJson = "x".repeat(COMPRESS_MIN_BYTES - 100);
    const { address } = await start(t, { service: { auth: { getJwks: () => ({ jwksJson }) } } });
    const { headers, body } = await post(address, { "accept-encoding": name });
    assert.equal(headers["content-encoding"], undefined);
    assert.deepEqual(JSON.parse(body.toString()), { jwksJson });
  });

  test(`a request by ${name} is refused and not decompressed`, async (t) => {
    const { address } = await start(t);
    // Without its end the stream is invalid, which its decompression would notice.
    const bomb = compress(Buffer.alloc(1024 * 1024)).subarray(0, -1);
    const { status, body } = await post(address, { "content-encoding": name }, bomb);
    assert.equal(status, 501, body.toString());
    assert.match(body.toString(), /unimplemented.*requests must not be compressed/);
  });
}
