import type { Target } from "./target.ts";

/** Attacks until the signal aborts. Its connections are cut after that. */
export type Assault = (signal: AbortSignal) => Promise<unknown>;

/** An attack by one hostile client, against a server on this machine. */
export interface Attack {
  readonly name: string;
  /** One line for the help: what the client does. */
  readonly summary: string;
  /** Maximum open files of each process of the servers; the limit of the bench when absent. */
  readonly openFiles?: number;
  /** Prepares the attack, such as its users and their messages. */
  readonly prepare: (target: Target) => Assault | Promise<Assault>;
}
