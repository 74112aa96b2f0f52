import { fileURLToPath } from "node:url";

/** A file that the gateway serves. */
export interface PageFile {
  readonly contentType: string;
  /** Where it is on the disk. */
  readonly path: string;
}

const HTML = "text/html; charset=utf-8";
const SCRIPT = "text/javascript; charset=utf-8";
const STYLE = "text/css; charset=utf-8";

/** Paths of all files below /docs/; "" is the first page. Nothing else is served. */
export const PAGE_FILES: ReadonlyMap<string, PageFile> = new Map(
  Object.entries({
    "": generated("index.html", HTML),
    "protocol.html": generated("protocol.html", HTML),
    "errors.html": generated("errors.html", HTML),
    "permissions.html": generated("permissions.html", HTML),
    "openapi.json": generated("openapi.json", "application/json"),
    "pages.css": own("pages.css", STYLE),
    "methods.js": own("methods.js", SCRIPT),
    "swagger-ui.css": vendored("swagger-ui.css", STYLE),
    "swagger-ui.js": vendored("swagger-ui-bundle.js", SCRIPT),
  }),
);

/** A file that `npm run generate` writes. */
function generated(name: string, contentType: string): PageFile {
  return { contentType, path: fileOf(`../../../gen/docs/${name}`) };
}

function own(name: string, contentType: string): PageFile {
  return { contentType, path: fileOf(`./assets/${name}`) };
}

/** A file of the package that shows documents of OpenAPI. */
function vendored(name: string, contentType: string): PageFile {
  return { contentType, path: fileURLToPath(import.meta.resolve(`swagger-ui-dist/${name}`)) };
}

function fileOf(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url));
}
