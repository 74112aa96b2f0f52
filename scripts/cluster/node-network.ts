import { runCommand } from "./commands.ts";

/** Network namespace of the node: the cluster is reachable only from within it. */
export const NAMESPACE = "lucky-cluster";
export const NODE_ADDRESS = "10.77.0.1";
export const POD_NETWORK = "10.244.0.0/24";
export const SERVICE_NETWORK = "10.96.0.0/16";
/** Address of the API server's Service. */
export const API_SERVICE_ADDRESS = "10.96.0.1";
/** Address of the Service for names. */
export const DNS_ADDRESS = "10.96.0.10";

/**
 * Runs a command within the namespace. `ip netns exec` would mount another /sys, without the control
 * groups.
 */
export const INSIDE = ["nsenter", `--net=/run/netns/${NAMESPACE}`] as const;

/** Creates the namespace, with one address and without a route to other networks. */
export function createNodeNetwork(): void {
  const inside = (...args: string[]) => runCommand(["ip", "-n", NAMESPACE, ...args]);
  runCommand(["ip", "netns", "add", NAMESPACE]);
  inside("link", "set", "lo", "up");
  inside("link", "add", "node0", "type", "veth", "peer", "name", "node0-peer");
  inside("link", "set", "node0-peer", "up");
  inside("link", "set", "node0", "up");
  inside("address", "add", `${NODE_ADDRESS}/24`, "dev", "node0");
  // Without a default route, no packet to the address of a Service would reach the rules of kube-proxy.
  inside("route", "add", "default", "via", "10.77.0.254", "dev", "node0");
  runCommand([...INSIDE, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
}

/** Deletes the namespace with all of its interfaces and rules. Idempotent. */
export function deleteNodeNetwork(): void {
  const names = runCommand(["ip", "netns", "list"]);
  if (new RegExp(`^${NAMESPACE}\\b`, "m").test(names))
    runCommand(["ip", "netns", "delete", NAMESPACE]);
}
