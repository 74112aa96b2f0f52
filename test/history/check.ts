import { readFileSync } from "node:fs";
import { checkHistory } from "./checker.ts";
import type { HistoryEvent } from "./events.ts";

const [file] = process.argv.slice(2);
if (file === undefined) {
  console.error("Usage: node test/history/check.ts <file of JSON lines>");
  process.exitCode = 2;
} else {
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  const findings = checkHistory(lines.map((line): HistoryEvent => JSON.parse(line)));
  for (const finding of findings) console.error(`✗ ${finding}`);
  if (findings.length === 0) console.log(`${lines.length} events: no promise is broken.`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}
