import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Ajv, type ValidateFunction } from "ajv";
import type { Manifest } from "./manifests.ts";

/** Written by scripts/cluster/openapi.ts from a running API server. */
interface SchemasFile {
  /** Version of Kubernetes, such as "v1.34.4". */
  readonly version: string;
  /** By "apiVersion kind": the name of its schema. */
  readonly kinds: Readonly<Record<string, string>>;
  readonly schemas: Readonly<Record<string, object>>;
}

const file = join(import.meta.dirname, "schemas.json.gz");

/** Validates objects as strictly as `kubectl apply --validate=strict` does: unknown fields are faults. */
export class Schemas {
  readonly version: string;
  readonly #kinds: SchemasFile["kinds"];
  readonly #ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true });
  readonly #validators = new Map<string, ValidateFunction>();

  constructor() {
    const { version, kinds, schemas } = JSON.parse(
      gunzipSync(readFileSync(file)).toString(),
    ) as SchemasFile;
    this.version = version;
    this.#kinds = kinds;
    this.#ajv.addSchema({ $id: "kubernetes", components: { schemas: strict(schemas) } });
  }

  /** The faults of an object, each with its place; empty when it is valid. */
  faultsOf(object: Manifest): string[] {
    const kind = `${object.apiVersion} ${object.kind}`;
    const where = `${object.kind} ${object.metadata?.name}`;
    const name = this.#kinds[kind];
    if (!name) return [`${where}: no schema of ${kind}; node scripts/cluster/openapi.ts adds it`];
    const reference = { $ref: `kubernetes#/components/schemas/${name}` };
    const validate = this.#validators.get(name) ?? this.#ajv.compile(reference);
    this.#validators.set(name, validate);
    if (validate(object)) return [];
    return (validate.errors ?? []).map(({ instancePath, message, params }) =>
      `${where}${instancePath}: ${message} ${params.additionalProperty ?? ""}`.trimEnd(),
    );
  }
}

/** Refuses unknown fields wherever a schema lists its fields. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== "object" || schema === null) return schema;
  const parts = Object.fromEntries(
    Object.entries(schema).map(([key, part]) => [key, strict(part)]),
  );
  const closed = "properties" in parts && !("additionalProperties" in parts);
  return closed ? { ...parts, additionalProperties: false } : parts;
}
