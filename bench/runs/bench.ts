import { type Shape, type System, withSystem } from "../system/system.ts";
import { makeUsers, type Origin, type User } from "../system/users.ts";

/** Set-up that scenarios use. A test replaces it with a cheaper one. */
export interface Bench {
  /** Starts Lucky, runs the work, and stops Lucky. */
  withSystem<T>(shape: Shape, work: (system: System) => Promise<T>): Promise<T>;
  /** Creates users with one device each. */
  makeUsers(system: System, count: number): Promise<{ users: User[]; origin: Origin }>;
  /**
   * Every scenario calls it after its set-up, when its load begins and before the warm-up. It may throw,
   * which ends the scenario; the scenario then stops everything that it started.
   */
  loadBegins(): void;
}

/** The set-up of the command line, which runs scenarios to their end. */
export const wholeBench: Bench = { withSystem, makeUsers, loadBegins: () => {} };
