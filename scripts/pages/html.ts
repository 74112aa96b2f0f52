import { Marked } from "marked";

/** The pages of /docs, in the order of their links. */
const PAGES: readonly (readonly [file: string, title: string])[] = [
  ["./", "Methods"],
  ["protocol.html", "Protocol"],
  ["errors.html", "Errors"],
  ["permissions.html", "Permissions"],
];

/** Renders a document as a page of /docs. Links to documents that are no pages become texts. */
export function htmlOf(markdown: string): string {
  const title = /^# (.+)$/m.exec(markdown)?.[1] ?? "Lucky";
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text }) {
        return `<h${depth} id="${anchorOf(text)}">${this.parser.parseInline(tokens)}</h${depth}>\n`;
      },
      link({ href, tokens }) {
        const text = this.parser.parseInline(tokens);
        const target = targetOf(href);
        return target === undefined ? text : `<a href="${target}">${text}</a>`;
      },
    },
  });
  return page(title, `<main class="document">\n${marked.parse(markdown, { async: false })}</main>`);
}

/** A page with the links to all others. */
export function page(title: string, body: string, head = ""): string {
  const links = PAGES.map(([file, name]) => `<a href="${file}">${name}</a>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} – Lucky</title>
<link rel="icon" href="data:,">
${head}<link rel="stylesheet" href="pages.css">
</head>
<body>
<nav><strong>Lucky</strong> ${links.join(" ")} <a href="openapi.json">OpenAPI</a></nav>
${body}
</body>
</html>
`;
}

/** The address of a link on a page; undefined for a document that is no page. */
function targetOf(href: string): string | undefined {
  if (/^(https?:|#)/.test(href)) return href;
  const [path = "", anchor] = href.split("#", 2);
  const file = path.replace(/\.md$/, ".html");
  if (!PAGES.some(([known]) => known === file)) return undefined;
  return anchor === undefined ? file : `${file}#${anchor}`;
}

/** The anchor of a heading, as GitHub makes it. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}
