import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingHttpHeaders } from "node:http";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { cutUnread } from "#platform/rpc/serving/answer-timeout.ts";
import type { NodeRequest, NodeResponse } from "#platform/rpc/serving/error-answer.ts";
import type { AnswerPage } from "#platform/rpc/serving/handler.ts";
import { PAGE_FILES, type PageFile } from "./page-files.ts";

/** Path of the pages. */
export const PAGES_PATH = "/docs";

const gzipAsync = promisify(gzip);

/**
 * Scripts, styles and calls are allowed only from and to this gateway, and nothing inline. No other page
 * may embed the pages in a frame. The styles contain images as data URLs.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": CONTENT_SECURITY_POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  // A browser may cache the file, and revalidates it with its ETag.
  "cache-control": "no-cache",
};

/** A file in memory, with its compressed form. */
interface LoadedFile {
  readonly etag: string;
  readonly plain: Buffer;
  readonly compressed: Buffer;
}

/**
 * Serves the pages for client authors, to anyone. Each file is read and compressed at its first
 * request and stays in memory: 4 MB for all of them.
 */
export function createPages({
  clock,
  log,
}: {
  readonly clock: Clock;
  readonly log: Log;
}): AnswerPage {
  const loaded = new Map<PageFile, Promise<LoadedFile>>();

  function load(file: PageFile): Promise<LoadedFile> {
    let loading = loaded.get(file);
    if (loading === undefined) {
      loading = read(file);
      loaded.set(file, loading);
      // A failure may be temporary, such as too many open files.
      loading.catch(() => loaded.delete(file));
    }
    return loading;
  }

  async function send(file: PageFile, request: NodeRequest, response: NodeResponse): Promise<void> {
    const { etag, plain, compressed } = await load(file);
    const { headers } = request;
    const isGzip = acceptsGzip(headers);
    const body = isGzip ? compressed : plain;
    // CORS may have set it already: the answer to one origin must not be reused for another one.
    const vary = response.getHeader("vary");
    response.setHeader("vary", vary === undefined ? "accept-encoding" : `${vary}, accept-encoding`);
    // Weak: the compressed file has it too.
    response.setHeader("etag", `W/${etag}`);
    if (isKnown(headers, etag)) return answer(response, 304);
    response.setHeader("content-type", file.contentType);
    response.setHeader("content-length", body.length);
    if (isGzip) response.setHeader("content-encoding", "gzip");
    cutUnread("stream" in response ? response.stream : response, clock);
    answer(response, 200, request.method === "HEAD" ? undefined : body);
  }

  return (request, response) => {
    const path = request.url?.split("?", 1)[0] ?? "";
    if (path !== PAGES_PATH && !path.startsWith(`${PAGES_PATH}/`)) return false;
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      answer(response, 405);
      return true;
    }
    if (path === PAGES_PATH) {
      // The pages have relative links, which begin behind the slash. So does the redirect, for proxies
      // that add a prefix.
      response.setHeader("location", `.${PAGES_PATH}/`);
      answer(response, 308);
      return true;
    }
    const file = PAGE_FILES.get(path.slice(PAGES_PATH.length + 1));
    if (file === undefined) {
      answer(response, 404);
      return true;
    }
    send(file, request, response).catch((error: unknown) => {
      log.error({ event: "page_failed", path, err: error });
      answer(response, 500);
    });
    return true;
  };
}

async function read({ path }: PageFile): Promise<LoadedFile> {
  const plain = await readFile(path);
  const compressed = await gzipAsync(plain, { level: 9 });
  const etag = `"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`;
  return { plain, compressed, etag };
}

function acceptsGzip({ "accept-encoding": accepted = "" }: IncomingHttpHeaders): boolean {
  return /(^|,)\s*gzip\s*(;\s*q=(1|0\.\d*[1-9])[\d.]*)?\s*(,|$)/i.test(String(accepted));
}

function isKnown({ "if-none-match": known = "" }: IncomingHttpHeaders, etag: string): boolean {
  return known.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
}

function answer(response: NodeResponse, status: number, body?: Buffer): void {
  response.statusCode = status;
  if (body === undefined && status !== 200 && status !== 304)
    response.setHeader("content-length", 0);
  // The two kinds of response have no signature of `end` in common.
  const bytes = body ?? "";
  if ("stream" in response) response.end(bytes);
  else response.end(bytes);
}
