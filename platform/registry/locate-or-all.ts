import type { Registry } from "./registry.ts";

/**
 * The connect instances that hear each channel, in the order of the channels. While the registry
 * cannot tell, these are all instances that it knows. Throws when it knows none, because an unknown
 * instance may hear a channel.
 */
export async function locateOrAll(
  registry: Pick<Registry, "locate" | "instances">,
  channels: readonly string[],
): Promise<readonly (readonly string[])[]> {
  try {
    return await registry.locate(channels);
  } catch (error) {
    const known = await registry.instances("connect");
    if (known.length === 0) throw error;
    const instanceIds = known.map(({ instanceId }) => instanceId);
    return channels.map(() => instanceIds);
  }
}
