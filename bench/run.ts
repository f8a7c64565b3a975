/** `deno task bench NAME`: runs a benchmark. Keep the machine quiet meanwhile. */

import { hintNearest } from "../src/config/nearest.ts";
import { preferVulkan } from "../src/engine/environment.ts";
import { UserError } from "../src/errors.ts";
import { runVerb } from "../tasks/_cli.ts";
import { type Report, reporter } from "./_report.ts";

/** By name; what is compared with is loaded with the benchmark, so that help and mistakes need none of it. */
const benchmarks: Readonly<Record<string, (report: Report, size: string | undefined) => Promise<void>>> = {
  async allreduce(report, size) {
    refuseSize("allreduce", size);
    const { benchAllreduce } = await import("./allreduce.ts");
    await benchAllreduce(report);
  },
  async attention(report, size) {
    refuseSize("attention", size);
    const { benchAttention } = await import("./attention.ts");
    await benchAttention(report);
  },
  async exposed(report, size) {
    refuseSize("exposed", size);
    const { benchExposed } = await import("./exposed.ts");
    await benchExposed(report);
  },
  async matmul(report, size) {
    refuseSize("matmul", size);
    const { benchMatmul } = await import("./matmul.ts");
    await benchMatmul(report);
  },
  async step(report, size) {
    const { benchStep, stepSizes } = await import("./step.ts");
    const sizes = stepSizes.filter((each) => size === undefined || size === each);
    if (sizes.length === 0) throw new UserError(`Found ${size}, expected one of ${stepSizes.join(", ")}`);
    for (const each of sizes) await benchStep(report, each);
  },
  async variants(report, size) {
    refuseSize("variants", size);
    const { benchVariants } = await import("./variants.ts");
    await benchVariants(report);
  },
};

function refuseSize(name: string, size: string | undefined): void {
  if (size !== undefined) throw new UserError(`Found ${size}, but bench ${name} takes no size`);
}

const verb = {
  name: "bench",
  summary: "Measures how fast this machine is, beside other WebGPU libraries. Keep it quiet meanwhile.",
  usage: "NAME [SIZE]",
  operands: {
    NAME:
      "allreduce (over loopback), attention (bands and packed documents beside dense), exposed (exchange of gradients in a step), matmul (512^3 in float32), step (of training) or variants (of the model)",
    SIZE: "of the step's model: small or middle (default: one after the other)",
  },
  options: {},
  examples: [
    ["allreduce", "how much of loopback's bandwidth a sum over processes keeps"],
    ["attention", "what a band or a document saves of attention's time"],
    ["exposed", "what the exchange adds to a step of 2 and 4 nodes"],
    ["matmul", "GFLOP/s of the three kinds of product"],
    ["variants", "what each axis of the model costs beside a plain GPT"],
    ["step small --json", "a step of nanoGPT's size for a CPU, for programs"],
  ],
} as const;

await runVerb(verb, async ({ args, signal, say, emit }) => {
  const [name, size, ...rest] = args;
  const names = Object.keys(benchmarks);
  if (name === undefined || rest.length > 0) {
    throw new UserError(`Found ${args.join(" ") || "no name"}, expected one of ${names.join(", ")}`);
  }
  if (!names.includes(name)) throw new UserError(`Found ${name}, ${hintNearest(name, names)}`);
  preferVulkan();
  const interrupted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason)); // there is nothing to save
  });
  await Promise.race([benchmarks[name](reporter(say, emit), size), interrupted]);
});
