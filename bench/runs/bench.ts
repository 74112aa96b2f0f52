import { type Shape, type System, withSystem } from "../system/system.ts";
import { makeUsers, type Origin, type User } from "../system/users.ts";

/** What scenarios set up with; a test sets up less. */
export interface Bench {
  /** Starts Lucky, works with it, and stops it. */
  withSystem<T>(shape: Shape, work: (system: System) => Promise<T>): Promise<T>;
  /** Makes users with one device each, and says where they came from. */
  makeUsers(system: System, count: number): Promise<{ users: User[]; origin: Origin }>;
  /**
   * Called by every scenario when it is set up and its load begins, before the warm-up. Throws to end
   * the run there; the scenario then stops what it started.
   */
  loadBegins(): void;
}

/** The bench as the command line runs it: to the end of the scenario. */
export const wholeBench: Bench = { withSystem, makeUsers, loadBegins: () => {} };
