import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";

/**
 * Stops PostgreSQL when the test process is killed: the guard process waits until its standard input
 * closes, which the kernel does when this process ends, and then signals the server.
 */
export function stopWithThisProcess(pidFile: string): ChildProcess {
  const script = 'cat; kill -QUIT "$(head -n 1 "$0")"';
  const guard = spawn("sh", ["-c", script, pidFile], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  guard.unref();
  (guard.stdin as Socket).unref();
  return guard;
}
