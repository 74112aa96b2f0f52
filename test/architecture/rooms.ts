import { posix } from "node:path";
import { cyclesOf, importGraph, isTest, type Sources } from "./sources.ts";

/** Source files in one folder, tests not counted. More than that are two rooms. */
const MAX_FILES = 15;

/** A folder whose sub-folders are rooms: a service, the platform, the client, the bench. */
export function housesOf(sources: Sources): string[] {
  const services = [...sources.keys()].map((path) => /^services\/[^/]+(?=\/)/.exec(path)?.[0]);
  const found = new Set(services.filter((name) => name !== undefined));
  return [...found, "platform", "client", "bench"].sort();
}

/** Every breach of the rules for rooms, one sentence each; empty when there is none. */
export function roomBreaches(sources: Sources): string[] {
  const found: string[] = [];
  for (const house of housesOf(sources)) {
    for (const cycle of cyclesOf(roomGraph(sources, house))) {
      found.push(`rooms import each other: ${cycle.join(" → ")}`);
    }
  }
  const counts = Map.groupBy(
    [...sources.keys()].filter((path) => !/\.(test|suite|fixture)\.ts$/.test(path)),
    (path) => posix.dirname(path),
  );
  for (const [folder, files] of counts) {
    if (files.length > MAX_FILES) {
      found.push(`${folder} has ${files.length} source files: sort them into rooms`);
    }
  }
  return found;
}

/**
 * Rooms of a house and the rooms that each one imports. A folder is a room. A file in the house's own
 * folder is a room by itself: a service's config.ts lies below its rooms and its service.ts above them.
 */
function roomGraph(sources: Sources, house: string): Map<string, Set<string>> {
  const graph = new Map<string, Set<string>>();
  for (const [path, imports] of importGraph(sources)) {
    if (!isIn(path, house) || isTest(path)) continue;
    const from = roomOf(path, house);
    const to = graph.get(from) ?? new Set();
    graph.set(from, to);
    for (const name of imports) {
      if (isIn(name, house) && !isTest(name) && roomOf(name, house) !== from) {
        to.add(roomOf(name, house));
      }
    }
  }
  return graph;
}

function isIn(path: string, house: string): boolean {
  return path.startsWith(`${house}/`);
}

function roomOf(path: string, house: string): string {
  const folder = posix.dirname(path);
  return folder === house ? path : folder;
}

/** Names of the rooms of a house, such as "sending", sorted. Single files are not among them. */
export function roomNames(sources: Sources, house: string): string[] {
  const rooms = [...roomGraph(sources, house).keys()].filter((room) => !room.endsWith(".ts"));
  return rooms.map((room) => room.slice(house.length + 1)).sort();
}

/**
 * The picture of a house as a Mermaid flowchart: rooms, and an arrow from each room to those that it
 * imports. Left out are single files and arrows that follow from others (a → c when a → b → c).
 */
export function pictureOf(sources: Sources, house: string): string {
  const graph = roomGraph(sources, house);
  const reached = new Map<string, Set<string>>();
  const reach = (room: string): Set<string> => {
    const known = reached.get(room);
    if (known) return known;
    const all = new Set<string>();
    reached.set(room, all);
    for (const next of graph.get(room) ?? []) {
      all.add(next);
      for (const further of reach(next)) all.add(further);
    }
    return all;
  };
  const name = (room: string) => room.slice(house.length + 1);
  const lines: string[] = [];
  for (const room of roomNames(sources, house).map((short) => `${house}/${short}`)) {
    const next = [...reach(room)].filter((other) => !other.endsWith(".ts"));
    const direct = next.filter((other) => !next.some((between) => reach(between).has(other)));
    if (direct.length === 0) lines.push(`  ${name(room)}`);
    for (const other of direct.sort()) lines.push(`  ${name(room)} --> ${name(other)}`);
  }
  return ["```mermaid", "flowchart TD", ...lines, "```"].join("\n");
}
