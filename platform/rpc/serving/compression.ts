import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { Code, ConnectError } from "@connectrpc/connect";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { atMost } from "./parallel.ts";

const gzipAsync = promisify(gzip);
const brotliAsync = promisify(brotliCompress);

/**
 * Levels that cost 20 to 30 ms per MiB. Node's default for brotli, 11, costs over a second per MiB
 * (measured), which a client could request.
 */
export const GZIP_OPTIONS = { level: 4 };
export const BROTLI_OPTIONS = { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } };

/** Answers below this are not compressed, bytes. */
export const COMPRESS_MIN_BYTES = 1_024;

/**
 * Maximum compressions at once. They run in the process's four threads of libuv, which password
 * hashing and files also need. Further answers wait; calls in flight bound their number.
 */
const MAX_PARALLEL = 2;

/**
 * Compressed requests are refused. Requests are small, and fourteen bytes of brotli can become
 * hundreds of kilobytes.
 */
function decompress(): Promise<never> {
  return Promise.reject(new ConnectError("requests must not be compressed", Code.Unimplemented));
}

/** Compressions of answers. */
export function createCompressions() {
  const run = atMost(MAX_PARALLEL);
  return [
    {
      ...compressionGzip,
      decompress,
      compress: (bytes: Uint8Array) => run(() => gzipAsync(bytes, GZIP_OPTIONS)),
    },
    {
      ...compressionBrotli,
      decompress,
      compress: (bytes: Uint8Array) => run(() => brotliAsync(bytes, BROTLI_OPTIONS)),
    },
  ];
}
