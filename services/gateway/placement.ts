import { userChannel } from "#platform/channels.ts";
import type { Log } from "#platform/log.ts";
import type { Instance, Registry } from "#platform/registry/registry.ts";

/** Chooses connect instances for sockets. */
export interface Placement {
  /** The live connect instances, the best first: `preferred` when it lives, then by load. */
  order(preferred: string | undefined): Promise<Instance[]>;
  /** Name of the instance where the user's sessions are; undefined for none, or not known. */
  whereIs(userId: string): Promise<string | undefined>;
  /** A socket went to the instance. */
  placed(instanceId: string): void;
}

/**
 * Instances tell their load only every few seconds. Sockets that this gateway placed since then are
 * added, or a rush of reconnecting devices would all go to the same instance.
 */
export function createPlacement(options: { registry: Registry; log: Log }): Placement {
  const { registry, log } = options;
  const since = new Map<string, { load: number; placed: number }>();

  function loadOf(instance: Instance): number {
    const known = since.get(instance.instanceId);
    if (known && known.load === instance.load) return instance.load + known.placed;
    since.set(instance.instanceId, { load: instance.load, placed: 0 });
    return instance.load;
  }

  return {
    async order(preferred) {
      const instances = await registry.instances("connect");
      for (const instanceId of since.keys()) {
        if (!instances.some((i) => i.instanceId === instanceId)) since.delete(instanceId);
      }
      return instances
        .map((instance) => ({
          instance,
          weight: instance.instanceId === preferred ? -1 : loadOf(instance),
        }))
        .sort((a, b) => a.weight - b.weight)
        .map(({ instance }) => instance);
    },

    async whereIs(userId) {
      try {
        const [instanceIds] = await registry.locate([userChannel(userId)]);
        return instanceIds?.[0];
      } catch (error) {
        // Any instance serves any user: without the registry the socket goes to another one.
        log.warn({ event: "locate_failed", err: error });
        return undefined;
      }
    },

    placed(instanceId) {
      const known = since.get(instanceId);
      if (known) known.placed += 1;
    },
  };
}
