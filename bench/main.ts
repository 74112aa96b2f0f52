import { describeFlags } from "./command/flags.ts";
import { exitCodeOf, printReport } from "./command/report.ts";
import { wholeBench } from "./runs/bench.ts";
import { scenarios } from "./scenarios/catalogue.ts";

async function help(): Promise<void> {
  console.log("Usage: npm run bench -- <scenario> [--flag value …]\n");
  for (const [name, load] of Object.entries(scenarios)) {
    const { default: one } = await load();
    console.log(`  ${name}: ${one.summary}`);
    for (const line of describeFlags(one.flags)) console.log(line);
    console.log();
  }
  console.log(
    "Every scenario starts its own servers on free ports. The last line is one JSON object.\n" +
      "Exit code: 0; 1 for a fault, such as a lost, duplicate or misplaced message, or a broken bound\n" +
      "of abuse; 2 when the generator was the bottleneck: then the figures do not measure the servers.\n" +
      "LUCKY_… settings of the environment apply to the servers.",
  );
}

// Run the exit handlers, which stop the started servers.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

const [name = "--help", ...args] = process.argv.slice(2);
const load = scenarios[name];
if (load && !args.includes("--help")) {
  const { default: one } = await load();
  try {
    const report = await one.run(args, wholeBench);
    printReport(report);
    process.exitCode = exitCodeOf(report);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
} else {
  await help();
  if (!load && name !== "--help") {
    console.error(`\nThere is no scenario "${name}".`);
    process.exitCode = 1;
  }
}
