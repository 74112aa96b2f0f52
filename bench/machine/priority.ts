import { setPriority } from "node:os";

/**
 * Raises the priority of a measuring process above the servers, where the system allows it: it
 * represents other machines and should not wait for a core. It does not use more CPU, but gets it in
 * time.
 */
export function raisePriority(pid: number, name: string): void {
  if (pid === 0) return;
  try {
    setPriority(pid, -10);
  } catch {
    console.error(`${name} has no priority over the servers: measured latencies are higher`);
  }
}

/** Undoes `raisePriority` for this process, so that its next children start without a priority. */
export function resetPriority(): void {
  try {
    setPriority(0);
  } catch {
    // The priority was not raised.
  }
}
