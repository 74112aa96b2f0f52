/**
 * Writes docs/permissions.md from the options of the contract. With --check it writes nothing and
 * fails when the page is out of date.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import { Access, items_per_point, LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { SERVICES, servedBy } from "#platform/rpc/contract.ts";
import { rulesOf } from "#platform/rpc/rules.ts";

const page = join(import.meta.dirname, "../docs/permissions.md");

const HEAD = `# Permissions

The callers that each method admits. \`node scripts/permissions-docs.ts\` writes this page from the
options in \`proto/lucky\` (\`served_by\`, \`access\`, \`callers\`, \`limit\`, \`items_per_point\`, see
\`proto/lucky/options/v1/options.proto\`): change the options, not this page. \`npm run check\` fails when
the page differs from them, and \`test/stories/access.test.ts\` calls every method as each caller that
this page does not admit.

A role is a claim of the access token. It is copied from the account when the device logs in or
refreshes its tokens; when an administrator changes the role, the account's logins end. "Anyone" needs
no token. "Services" names those of Lucky's own services that may call a method (\`callers\`), each
with a secret of its own; the gateway refuses these methods.

Over the socket's \`Rpc\` frame a device may call every unary method that its user may call here.
Methods for services and streams cannot be called there.

A call counts against the budget in the last column: *credential* by the caller's address, the others
by user, or by address without a login. "per \`user_ids\`" means that each item of this field of the
request counts as a call, "per 10 \`cursors\`" that ten items do. Calls through the gateway and by
\`Rpc\` frames use the same budgets. The sizes are \`LUCKY_LIMITS_…\` in
[configuration.md](configuration.md).

The standard services of gRPC have no rows here: \`grpc.health.v1\` and \`grpc.reflection\` admit anyone, ten
calls a second from each address.
`;

/** Columns of callers, and the accesses that admit them. */
const COLUMNS: [who: string, may: ReadonlySet<Access>][] = [
  ["Anyone", new Set([Access.PUBLIC])],
  ["Bot", new Set([Access.PUBLIC, Access.USER])],
  ["User", new Set([Access.PUBLIC, Access.USER, Access.PERSON])],
  ["Operator", new Set([Access.PUBLIC, Access.USER, Access.PERSON, Access.OPERATOR])],
  [
    "Administrator",
    new Set([Access.PUBLIC, Access.USER, Access.PERSON, Access.OPERATOR, Access.ADMIN]),
  ],
];

const text = [HEAD, ...SERVICES.map(section)].join("\n");
if (!process.argv.includes("--check")) {
  writeFileSync(page, text);
} else if (!existsSync(page) || readFileSync(page, "utf8") !== text) {
  console.error("docs/permissions.md is out of date: run node scripts/permissions-docs.ts");
  process.exitCode = 1;
}

function section(service: DescService): string {
  const titles = ["Method", ...COLUMNS.map(([who]) => who), "Services", "Budget"];
  return [
    `## ${service.typeName}`,
    "",
    `Served by ${servedBy(service)}.`,
    "",
    `| ${titles.join(" | ")} |`,
    `|${titles.map((_, at) => (at > 0 && at < titles.length - 1 ? ":-:" : "---")).join("|")}|`,
    ...service.methods.map(row),
    "",
  ].join("\n");
}

function row(method: DescMethod): string {
  const { access, limit, callers } = rulesOf(method);
  const charged = method.input.fields.flatMap((field) => {
    const perPoint = getOption(field, items_per_point);
    return perPoint === 0 ? [] : [` per ${perPoint === 1 ? "" : `${perPoint} `}\`${field.name}\``];
  });
  const stream = method.methodKind === "unary" ? "" : " (stream)";
  const limited = LimitClass[limit].toLowerCase() + charged.join("");
  const budget = limit === LimitClass.INTERNAL ? "not limited" : limited;
  const marks = COLUMNS.map(([, may]) => (may.has(access) ? "✓" : ""));
  const services = access === Access.PUBLIC ? "✓" : callers.join(", ");
  return `| ${[`\`${method.name}\`${stream}`, ...marks, services, budget].join(" | ")} |`;
}
