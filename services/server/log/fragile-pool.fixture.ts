import type pg from "pg";

/** A pool that cannot connect while it is "away", and whose attempts never end while it is "silent". */
export function fragile(pool: pg.Pool): { pool: pg.Pool; state: "here" | "away" | "silent" } {
  const one: ReturnType<typeof fragile> = {
    state: "here",
    pool: Object.create(pool, {
      connect: {
        value: async () => {
          if (one.state === "here") return pool.connect();
          if (one.state === "away")
            throw Object.assign(new Error("away"), { code: "ECONNREFUSED" });
          return new Promise(() => {});
        },
      },
    }) as pg.Pool,
  };
  return one;
}
