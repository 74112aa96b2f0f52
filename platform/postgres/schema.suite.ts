import type { Pool } from "./pool.ts";

/** By "schema.table.column": type, nullability and keys of the column, in words. */
export type Columns = ReadonlyMap<string, string>;

const TYPES: Record<string, string> = {
  BigInt: "int8",
  "BigInt[]": "_int8",
  Int: "int4",
  "Int[]": "_int4",
  "Int @db.SmallInt": "int2",
  String: "text",
  "String @db.Uuid": "uuid",
  "DateTime @db.Timestamptz(3)": "timestamptz(3)",
  "DateTime @db.Timestamptz(6)": "timestamptz(6)",
  Boolean: "bool",
  Bytes: "bytea",
  'Unsupported("xid8")': "xid8",
};

/** The columns in the models of a Prisma schema. Throws for an unknown type. */
export function columnsOfSchema(schema: string): Columns {
  const columns = new Map<string, string>();
  const models = [...schema.matchAll(/^model (\w+) \{\n([\s\S]*?)^\}/gm)];
  const names = new Set(models.map(([, name]) => name));
  for (const [, model, body = ""] of models) {
    const table = `${attribute(body, "@@schema")}.${attribute(body, "@@map")}`;
    const fields = [...body.matchAll(/^ {2}(\w+) +(\w+(?:\("\w+"\)|\[\])?)(\??)([^\n]*)$/gm)]
      .map(([, name = "", type = "", optional = "", rest = ""]) => ({ name, type, optional, rest }))
      .filter(({ type }) => !names.has(type.replace("[]", "")));
    const lists = (kind: string) =>
      [...body.matchAll(new RegExp(`^ {2}${kind}\\(\\[([^\\]]*)\\]`, "gm"))].map(([, list = ""]) =>
        list.split(",").map((name) => name.trim()),
      );
    for (const { name, type, optional, rest } of fields) {
      const native = /@db\.\w+(\(\d+\))?/.exec(rest)?.[0];
      const known = TYPES[native ? `${type} ${native}` : type];
      if (!known) throw new Error(`${model}.${name}: what is ${type} ${native ?? ""}?`);
      const primary = /@id\b/.test(rest) || lists("@@id").some((list) => list.includes(name));
      const unique =
        /@unique\b/.test(rest) || lists("@@unique").some((list) => list.includes(name));
      const column = /@map\("([^"]+)"\)/.exec(rest)?.[1] ?? name;
      columns.set(
        `${table}.${column}`,
        describe({ type: known, nullable: optional === "?", primary, unique }),
      );
    }
  }
  return columns;
}

function attribute(body: string, name: string): string | undefined {
  return new RegExp(`^ {2}${name}\\("([^"]+)"\\)`, "m").exec(body)?.[1];
}

interface Column {
  type: string;
  nullable: boolean;
  primary: boolean;
  unique: boolean;
}

function describe({ type, nullable, primary, unique }: Column): string {
  const words = [type, nullable ? "null" : "not null"];
  if (primary) words.push("primary key");
  if (unique) words.push("unique");
  return words.join(", ");
}

/** The columns of our tables in the database, without the table of migrations. */
export async function columnsOfDatabase(pool: Pool): Promise<Columns> {
  const { rows } = await pool.query<Column & { name: string }>(`
    SELECT c.table_schema || '.' || c.table_name || '.' || c.column_name AS name,
      c.udt_name || CASE WHEN c.udt_name = 'timestamptz'
        THEN '(' || c.datetime_precision || ')' ELSE '' END AS type,
      c.is_nullable = 'YES' AS nullable,
      coalesce(bool_or(t.constraint_type = 'PRIMARY KEY'), false) AS primary,
      coalesce(bool_or(t.constraint_type = 'UNIQUE'), false) AS unique
    FROM information_schema.columns c
    LEFT JOIN information_schema.key_column_usage k
      USING (table_schema, table_name, column_name)
    LEFT JOIN information_schema.table_constraints t
      ON t.constraint_schema = k.constraint_schema AND t.constraint_name = k.constraint_name
      AND t.table_name = c.table_name
    WHERE c.table_schema IN ('lucky', 'auth', 'im')
      AND (c.table_schema, c.table_name) <> ('lucky', 'migration')
    GROUP BY 1, 2, 3`);
  return new Map(rows.map((row) => [row.name, describe(row)]));
}

/** Differences between schema.prisma and the database, one sentence each. */
export function differences(schema: Columns, database: Columns): string[] {
  return [...new Set([...schema.keys(), ...database.keys()])].toSorted().flatMap((name) => {
    const says = schema.get(name) ?? "nothing";
    const is = database.get(name) ?? "nothing";
    return says === is ? [] : [`${name}: schema.prisma says ${says}, the database ${is}`];
  });
}
