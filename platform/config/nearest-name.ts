/** The known name that a misspelt one probably means; undefined when none is near. */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 5)) + 1;
  for (const one of known) {
    const distance = editDistance(name.toLowerCase(), one.toLowerCase());
    if (distance >= least) continue;
    least = distance;
    nearest = one;
  }
  return nearest;
}

/** Levenshtein distance: insertions, deletions and replacements of characters. */
function editDistance(one: string, other: string): number {
  let before = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let row = 1; row <= one.length; row++) {
    const current = [row];
    for (let at = 1; at <= other.length; at++) {
      const replaced = before[at - 1]! + (one[row - 1] === other[at - 1] ? 0 : 1);
      current.push(Math.min(replaced, before[at]! + 1, current[at - 1]! + 1));
    }
    before = current;
  }
  return before[other.length]!;
}
