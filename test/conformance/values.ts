/** A value of the scenario, or a message in JSON. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The saved values of a play. */
export type Values = Record<string, string>;

/** Replaces ${name} in all texts of a value. Throws for a value that was not saved. */
export function fill(value: Json | undefined, values: Values): Json {
  if (typeof value === "string")
    return value.replace(/\$\{([^}]+)\}/g, (_, name: string) => {
      const saved = values[name];
      if (saved === undefined) throw new Error(`no value "${name}" was saved`);
      return saved;
    });
  if (Array.isArray(value)) return value.map((item) => fill(item, values));
  if (value === null || typeof value !== "object") return value ?? null;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, values)]));
}

/** Stores fields of an answer by their paths. */
export function save(step: Record<string, Json>, answer: Json, values: Values): void {
  for (const [name, path] of Object.entries(step.save ?? {})) {
    let at: Json | undefined = answer;
    for (const key of String(path).split(".")) at = (at as Record<string, Json> | undefined)?.[key];
    if (typeof at !== "string") throw new Error(`the answer has no ${path} to save`);
    values[name] = at;
  }
}

/**
 * Compares an answer with an expectation: "*" is any value but an absent one, null an absent one; an
 * object may have more fields, a list has exactly as many items.
 */
export function match(path: string, expected: Json, actual: Json | undefined): void {
  const shown = JSON.stringify(actual);
  if (expected === null) {
    if (actual !== undefined && actual !== null) throw new Error(`${path} is ${shown}, not absent`);
  } else if (Array.isArray(expected)) {
    if (!Array.isArray(actual) || actual.length !== expected.length)
      throw new Error(`${path} is ${shown}, expected ${expected.length} items`);
    for (const [at, item] of expected.entries()) match(`${path}[${at}]`, item, actual[at]);
  } else if (typeof expected === "object") {
    if (typeof actual !== "object" || actual === null || Array.isArray(actual))
      throw new Error(`${path} is ${shown}, expected an object`);
    for (const [key, item] of Object.entries(expected)) match(`${path}.${key}`, item, actual[key]);
  } else if (expected === "*" ? actual === undefined || actual === null : actual !== expected)
    throw new Error(`${path} is ${shown}, expected ${JSON.stringify(expected)}`);
}

/** The items of a list, or the one value. */
export function texts(value: Json | undefined): string[] {
  return (Array.isArray(value) ? value : [value]).map((item) => String(item));
}
