import { cors } from "@connectrpc/connect";
import { REQUEST_ID_HEADER } from "#platform/rpc/interceptors/observe.ts";
import { TRACE_HEADER } from "#platform/tracing/traces.ts";
import type { NodeRequest, NodeResponse } from "./error-answer.ts";

const methods = cors.allowedMethods.join(", ");
const ALLOWED_HEADERS = [
  ...cors.allowedHeaders,
  "Authorization",
  REQUEST_ID_HEADER,
  TRACE_HEADER,
].join(", ");
const EXPOSED_HEADERS = [...cors.exposedHeaders, REQUEST_ID_HEADER].join(", ");
const MAX_AGE_SECONDS = 7_200;

/**
 * Allows scripts of other origins to call (CORS). Lucky uses no cookies: a foreign origin can do
 * only what its own token allows. "*" among the origins allows any origin. Answers a preflight
 * request and returns true for it.
 */
export function answerBrowser(
  request: NodeRequest,
  response: NodeResponse,
  origins: readonly string[],
): boolean {
  const { origin } = request.headers;
  if (origin === undefined || origins.length === 0) return false;
  const any = origins.includes("*");
  response.setHeader("Vary", "Origin");
  if (!any && !origins.includes(origin)) return false;
  response.setHeader("Access-Control-Allow-Origin", any ? "*" : origin);
  response.setHeader("Access-Control-Expose-Headers", EXPOSED_HEADERS);
  const preflight = request.headers["access-control-request-method"] !== undefined;
  if (request.method !== "OPTIONS" || !preflight) return false;
  response.setHeader("Access-Control-Allow-Methods", methods);
  response.setHeader("Access-Control-Allow-Headers", ALLOWED_HEADERS);
  response.setHeader("Access-Control-Max-Age", String(MAX_AGE_SECONDS));
  response.statusCode = 204;
  // The two kinds of response have no signature of `end` in common.
  if ("stream" in response) response.end();
  else response.end();
  return true;
}
