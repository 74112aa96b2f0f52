import { benchMessages } from "./messages.ts";

const benches: Readonly<Record<string, (args: string[]) => Promise<void>>> = {
  messages: benchMessages,
};

const [name = "", ...args] = process.argv.slice(2);
const bench = benches[name];
if (bench) {
  await bench(args);
} else {
  console.error(`usage: npm run bench -- <${Object.keys(benches).join("|")}> [--option value …]`);
  process.exitCode = 1;
}
