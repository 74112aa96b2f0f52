import { userChannel } from "#platform/channels.ts";
import type { Log } from "#platform/log.ts";
import { FULL_LOAD, type Instance, type Registry } from "#platform/registry/registry.ts";

/** Chooses connect instances for sockets. */
export interface Placement {
  /**
   * The live connect instances in the order of preference: `preferred` if it is live and has room,
   * then by load.
   */
  order(preferred: string | undefined): Promise<Instance[]>;
  /**
   * Id of an instance with sessions of the user; undefined when there is none, or it is unknown.
   */
  whereIs(userId: string): Promise<string | undefined>;
  /** Records that a WebSocket was opened to the instance. */
  placed(instanceId: string): void;
}

/**
 * Instances report their load only every few seconds. Placement adds the WebSockets that this
 * gateway opened since the last report, otherwise many devices that reconnect at once would all be
 * sent to one instance.
 */
export function createPlacement(options: { registry: Registry; log: Log }): Placement {
  const { registry, log } = options;
  const sinceReport = new Map<string, { load: number; placed: number }>();

  function loadOf(instance: Instance): number {
    const known = sinceReport.get(instance.instanceId);
    if (known && known.load === instance.load) return instance.load + known.placed;
    sinceReport.set(instance.instanceId, { load: instance.load, placed: 0 });
    return instance.load;
  }

  return {
    async order(preferred) {
      const instances = await registry.instances("connect");
      for (const instanceId of sinceReport.keys()) {
        if (!instances.some((i) => i.instanceId === instanceId)) sinceReport.delete(instanceId);
      }
      return instances
        .map((instance) => {
          const isPreferred = instance.instanceId === preferred && instance.load < FULL_LOAD;
          return { instance, weight: isPreferred ? -1 : loadOf(instance) };
        })
        .sort((a, b) => a.weight - b.weight)
        .map(({ instance }) => instance);
    },

    async whereIs(userId) {
      try {
        const [instanceIds] = await registry.locate([userChannel(userId)]);
        return instanceIds?.[0];
      } catch (error) {
        // Any instance serves any user: without the registry the least loaded one is used.
        log.warn({ event: "locate_failed", err: error });
        return undefined;
      }
    },

    placed(instanceId) {
      const known = sinceReport.get(instanceId);
      if (known) known.placed += 1;
    },
  };
}
