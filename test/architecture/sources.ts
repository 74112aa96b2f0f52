import { posix } from "node:path";

/** Sources by path from the repository's root, such as "services/auth/sign-in/login.ts". */
export type Sources = ReadonlyMap<string, string>;

/** Names of everything that a source imports: statically, dynamically or by re-export. */
export function importsOf(source: string): string[] {
  const statements = /^(?:import|export)\b[^;"'`]*?\bfrom\s*"([^"]+)"|^import\s*"([^"]+)"/gm;
  const calls = /\bimport\(\s*"([^"]+)"\s*\)/g;
  return [...source.matchAll(statements), ...source.matchAll(calls)].map(
    (match) => match[1] ?? match[2]!,
  );
}

/** The path of an imported file from the repository's root; the name itself for a package. */
export function resolveImport(from: string, name: string): string {
  if (/^#(gen|platform)\//.test(name)) return posix.normalize(name.slice(1));
  return name.startsWith(".") ? posix.join(posix.dirname(from), name) : name;
}

/** The files that each file imports. */
export function importGraph(sources: Sources): Map<string, string[]> {
  const graph = new Map<string, string[]>();
  for (const [path, source] of sources) {
    const imports = importsOf(source).map((name) => resolveImport(path, name));
    graph.set(
      path,
      imports.filter((name) => sources.has(name)),
    );
  }
  return graph;
}

/** Whether a file is a test, or serves tests only. */
export function isTest(path: string): boolean {
  return path.startsWith("test/") || /\.(test|suite|fixture)\.ts$/.test(path);
}

/** One path for each cycle found in a graph: its nodes in order, the first one again at the end. */
export function cyclesOf(graph: ReadonlyMap<string, Iterable<string>>): string[][] {
  const done = new Set<string>();
  const cycles: string[][] = [];
  function visit(node: string, path: string[]): void {
    const at = path.indexOf(node);
    if (at >= 0) {
      cycles.push([...path.slice(at), node]);
      return;
    }
    if (done.has(node)) return;
    path.push(node);
    for (const next of graph.get(node) ?? []) visit(next, path);
    path.pop();
    done.add(node);
  }
  for (const node of graph.keys()) visit(node, []);
  return cycles;
}
