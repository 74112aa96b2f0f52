import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";

/** A TCP proxy to the broker that can be paused and cut. */
export async function openWire(t: TestContext, port: number) {
  const ends = new Set<Socket>();
  let refusing = false;
  let cutAt: string | undefined;
  const cut = () => {
    for (const end of ends) end.destroy();
  };
  const wire = createServer((near) => {
    if (refusing) return void near.destroy();
    const far = createConnection(port, "127.0.0.1");
    near.on("data", (bytes) => {
      if (cutAt === undefined || !bytes.includes(cutAt)) return;
      cutAt = undefined;
      cut();
    });
    near.pipe(far).pipe(near);
    for (const end of [near, far]) {
      ends.add(end);
      end.on("error", () => {});
      end.on("close", () => {
        ends.delete(end);
        near.destroy();
        far.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => wire.listen(0, "127.0.0.1", resolve));
  t.after(() => wire.close());
  const at = wire.address() as AddressInfo;
  return {
    url: `amqp://guest:guest@127.0.0.1:${at.port}`,
    /** Stops forwarding. */
    pause: () => {
      for (const end of ends) end.unpipe();
    },
    cut,
    /** Cuts all connections once, when the bus sends a word. */
    cutAt: (word: string) => {
      cutAt = word;
    },
    /** Number of ends of open connections. */
    get connections() {
      return ends.size;
    },
    /** Refuses new connections until `accept`. */
    refuse: () => {
      refusing = true;
    },
    accept: () => {
      refusing = false;
    },
  };
}
