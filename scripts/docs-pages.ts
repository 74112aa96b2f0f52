/**
 * Writes the pages of /docs into gen/docs: from proto/, with its comments, and from docs/. The document
 * of OpenAPI is made here, because the generators for protoc know neither the access and limits of a
 * method nor the reasons of its errors, and are written in Go, which the build does not need otherwise.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readContract } from "./pages/contract.ts";
import { errorsPage } from "./pages/errors.ts";
import { htmlOf, page } from "./pages/html.ts";
import { openApiOf } from "./pages/openapi.ts";

const root = join(import.meta.dirname, "..");
const folder = join(root, "gen/docs");
const read = (file: string) => readFileSync(join(root, file), "utf8");

const contract = readContract(root);
const { version } = JSON.parse(read("package.json")) as { version: string };
const methods = '<link rel="stylesheet" href="swagger-ui.css">\n';
const scripts = ["swagger-ui.js", "methods.js"].map((file) => `<script src="${file}"></script>`);

mkdirSync(folder, { recursive: true });
const pages: Record<string, string> = {
  "index.html": page("Methods", `<main id="methods"></main>\n${scripts.join("\n")}`, methods),
  "protocol.html": htmlOf(read("docs/protocol.md")),
  "permissions.html": htmlOf(read("docs/permissions.md")),
  "errors.html": htmlOf(errorsPage(contract)),
  "openapi.json": `${JSON.stringify(openApiOf(contract, version), undefined, 1)}\n`,
};
for (const [name, text] of Object.entries(pages)) writeFileSync(join(folder, name), text);
