/** `deno task bench NAME [CASE] [--json]`: runs a benchmark. Keep the machine quiet meanwhile. */

import { benchMatmul } from "./matmul.ts";
import { reporter } from "./_report.ts";
import { benchStep, type StepSize, stepSizes } from "./step.ts";

const USAGE = `Usage: deno task bench matmul|step [${stepSizes.join("|")}] [--json]`;

const args = Deno.args.filter((arg) => arg !== "--json");
const report = reporter(Deno.args.includes("--json"));
const [name, wanted] = args;

if (name === "matmul") {
  await benchMatmul(report);
} else if (name === "step" && (wanted === undefined || stepSizes.includes(wanted as StepSize))) {
  for (const size of stepSizes) if (wanted === undefined || wanted === size) await benchStep(report, size);
} else {
  console.error(USAGE);
  Deno.exit(args.includes("--help") ? 0 : 1);
}
Deno.exit(0); // the peers keep their devices open
