import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { fuzz } from "./run.ts";

const USAGE = `npm run fuzz -- [--count 200000] [--seed 11] [--case 17]

  --count  inputs in all
  --seed   the run to repeat; random when absent
  --case   the only case to run, as a finding names it`;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "200000" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
    case: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(USAGE);
} else {
  const [count, seed] = [Number(values.count), Number(values.seed)];
  console.log(`Fuzzing with seed ${seed}.`);
  const startedAt = performance.now();
  const only = values.case === undefined ? {} : { only: Number(values.case) };
  const report = await fuzz({ count, seed, ...only, print: console.log }).catch((error: Error) => {
    console.error(`✗ The run with seed ${seed} could not start: ${error.stack}`);
    process.exit(1);
  });
  const seconds = Math.round((performance.now() - startedAt) / 1_000);
  console.log(
    `${report.inputs} inputs in ${report.cases} cases and ${seconds} s; ${report.exchanges} exchanges of the canary; ${report.memory}.`,
  );
  for (const finding of report.findings) console.error(`✗ ${finding}`);
  if (report.findings.length === 0) console.log("No findings.");
  process.exitCode = report.findings.length === 0 ? 0 : 1;
}
