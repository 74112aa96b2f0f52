import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import { Access, items_per_point, LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { rulesOf } from "#platform/rpc/rules.ts";
import type { Schema } from "./constraints.ts";
import { type CommentedContract, commentOf, firstSentence } from "./contract.ts";
import { type Reason, readReasons, reasonsOf } from "./errors.ts";
import { exampleOf } from "./examples.ts";
import { createSchemas, type Schemas } from "./schemas.ts";

const DETAIL = "lucky.error.v1.ErrorDetail";
const ERROR = "connect.Error";

const ABOUT = `All methods as JSON over HTTP: the [Connect protocol](https://connectrpc.com/docs/protocol). The
same methods are served as gRPC and gRPC-Web. [The protocol](protocol.html) describes logins, the
WebSocket and how a client works; [errors](errors.html) and [permissions](permissions.html) have pages
of their own.

64-bit integers are texts. Absent fields have their zero value. Unknown fields of an answer must be
skipped: later versions add some. The header Connect-Timeout-Ms sets a deadline.`;

/** Callers that a method admits, as a sentence. Internal methods are not described. */
const CALLERS: Partial<Record<Access, string>> = {
  [Access.PUBLIC]: "Anyone, without a token.",
  [Access.USER]: "Any logged-in user.",
  [Access.PERSON]: "Any logged-in user except bots.",
  [Access.OPERATOR]: "Operators and administrators.",
  [Access.ADMIN]: "Administrators.",
};

/** The contract as a document of OpenAPI 3.1. Throws for a method or rule that it cannot describe. */
export function openApiOf(contract: CommentedContract, version: string): Schema {
  const schemas = createSchemas();
  const reasons = readReasons(contract.registry);
  const detail = contract.registry.getMessage(DETAIL)!;
  const error = errorSchema(schemas.ref(detail));
  const methods = contract.services.flatMap((service) => [...service.methods]);
  const paths = Object.fromEntries(
    methods.map((method) => {
      const path = `/${method.parent.typeName}/${method.name}`;
      return [path, { post: operationOf(method, schemas, reasons) }];
    }),
  );
  return {
    openapi: "3.1.0",
    info: {
      title: "Lucky",
      version,
      description: ABOUT,
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: contract.services.map(tagOf),
    paths,
    components: {
      securitySchemes: {
        accessToken: {
          type: "http",
          scheme: "bearer",
          description: "The access token that Login returns.",
        },
      },
      schemas: { [ERROR]: error, ...schemas.components() },
    },
  };
}

function tagOf(service: DescService): Schema {
  return { name: service.name, description: commentOf(service) };
}

function operationOf(method: DescMethod, schemas: Schemas, reasons: readonly Reason[]): Schema {
  const { access, limit, maxRequestBytes } = rulesOf(method);
  const callers = CALLERS[access];
  if (callers === undefined) throw new Error(`${method} declares no access for clients`);
  const comment = commentOf(method);
  const stream = method.methodKind === "server_streaming";
  if (!stream && method.methodKind !== "unary") throw new Error(`${method} takes a stream`);
  // Streams put each message into an envelope.
  const type = stream ? "application/connect+json" : "application/json";
  const streamed = stream
    ? [
        "**Stream.** Each message of request and answer is in an envelope of the Connect protocol. The status is 200; the last envelope has the error.",
      ]
    : [];
  return {
    operationId: `${method.parent.name}_${method.name}`,
    tags: [method.parent.name],
    summary: firstSentence(comment),
    description: [
      comment,
      ...streamed,
      `**Callers.** ${callers}`,
      `**Limits.** ${budgetOf(method, limit)} A request has at most ${maxRequestBytes} bytes.`,
    ].join("\n\n"),
    security: access === Access.PUBLIC ? [] : [{ accessToken: [] }],
    requestBody: {
      required: true,
      content: { [type]: { schema: schemas.ref(method.input), example: exampleOf(method.input) } },
    },
    responses: {
      "200": {
        description: commentOf(method.output),
        content: { [type]: { schema: schemas.ref(method.output) } },
      },
      ...failuresOf(reasonsOf(method, reasons)),
    },
    "x-lucky-access": Access[access],
    "x-lucky-limit": LimitClass[limit],
    "x-lucky-max-request-bytes": maxRequestBytes,
  };
}

function budgetOf(method: DescMethod, limit: LimitClass): string {
  const charged = method.input.fields.flatMap((field) => {
    const perPoint = getOption(field, items_per_point);
    if (perPoint === 0) return [];
    const each = perPoint === 1 ? "Each item" : `Each ${perPoint} items`;
    return [` ${each} of \`${field.jsonName}\` count as one call.`];
  });
  return `A call counts against the budget *${LimitClass[limit].toLowerCase()}*.${charged.join("")}`;
}

/** The answers of failed calls by HTTP status, each with its reasons. */
function failuresOf(reasons: readonly Reason[]): Schema {
  const byStatus = Map.groupBy(reasons, ({ httpStatus }) => httpStatus);
  const failures = [...byStatus].sort(([a], [b]) => a - b);
  return Object.fromEntries(
    failures.map(([status, found]) => [
      String(status),
      {
        description: found
          .map(({ name, code, text }) => `- \`${name}\` (${code}): ${text}`)
          .join("\n"),
        content: { "application/json": { schema: { $ref: `#/components/schemas/${ERROR}` } } },
      },
    ]),
  );
}

/** The error of the Connect protocol. */
function errorSchema(detail: Schema): Schema {
  return {
    type: "object",
    title: ERROR,
    description: "The answer of a failed call.",
    required: ["code"],
    properties: {
      code: { type: "string", description: "Code, such as invalid_argument." },
      message: {
        type: "string",
        description: "Text for developers. Switch on the reason instead.",
      },
      details: {
        type: "array",
        items: {
          type: "object",
          required: ["type", "value"],
          properties: {
            type: { type: "string", description: `Name of the message, such as ${DETAIL}.` },
            value: {
              type: "string",
              contentEncoding: "base64",
              description: "The message, encoded as protobuf; base64 without padding.",
            },
            debug: { description: "The same message in JSON.", ...detail },
          },
        },
      },
    },
  };
}
