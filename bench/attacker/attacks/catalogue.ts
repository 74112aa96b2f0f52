import type { Attack } from "../target/attack.ts";
import { brotliPages } from "./brotli-pages.ts";
import { costlyPasswords } from "./costly-passwords.ts";
import { emptyFields } from "./empty-fields.ts";
import { endlessBodies } from "./endless-bodies.ts";
import { groupFlood } from "./group-flood.ts";
import { healthNames } from "./health-names.ts";
import { idleConnections } from "./idle-connections.ts";
import { idleTunnels } from "./idle-tunnels.ts";
import { profileFlood } from "./profile-flood.ts";
import { refusedCalls } from "./refused-calls.ts";
import { streamResets } from "./stream-resets.ts";

/** All attacks, in the order in which the bench runs them. */
export const attacks: readonly Attack[] = [
  emptyFields,
  healthNames,
  streamResets,
  endlessBodies,
  brotliPages,
  idleConnections,
  groupFlood,
  profileFlood,
  costlyPasswords,
  refusedCalls,
  idleTunnels,
];
