/** The process of one generator: answers each call of its parent. */
import { serveCalls } from "../processes/serve-calls.ts";
import type { GeneratorApi } from "./api.ts";
import { Generator } from "./generator.ts";

serveCalls<GeneratorApi>(new Generator());
