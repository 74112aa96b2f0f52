/** The process of an attacker: answers each call of its parent. */
import { setMaxListeners } from "node:events";
import { serveCalls } from "../processes/serve-calls.ts";
import type { AttackerApi } from "./api.ts";
import { Attacker } from "./attacker.ts";

// Thousands of connections wait for one signal.
setMaxListeners(0);
serveCalls<AttackerApi>(new Attacker());
