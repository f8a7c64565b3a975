import { preferVulkan } from "../src/engine/environment.ts";
import { UserError } from "../src/errors.ts";
import { type GpuOptions, openGpu } from "../src/gpu/device.ts";
import { caseName, verifyFolder } from "../src/verify/caseFolder.ts";
import type { Comparison } from "../src/verify/comparison.ts";
import { describeDevice, verifyOps } from "../src/verify/device.ts";
import { type Call, runVerb } from "./_cli.ts";
import { formatBytes, formatInteger } from "./_format.ts";
import { GPU_OPTION, takeGpu } from "./_gpu.ts";

/** Holds the smallest tensors that are always bound whole. */
const SMALLEST_BINDING = 16384;

const options = {
  maxBinding: {
    type: "number",
    value: "BYTES",
    help: "caps bindings, so that small tensors are cut into windows too",
  },
  ...GPU_OPTION,
} as const;

const verb = {
  name: "verify",
  summary:
    "Is this GPU and its driver right? Checks every op against the CPU or, with folders, reference cases.",
  usage: "[FOLDER...]",
  operands: { FOLDER: "a reference case, of a model or a tokenizer: see tests/fixtures/README.md" },
  options,
  examples: [
    ["", "every op, forward and backward, on this device"],
    ["tests/fixtures/hf/gpt2", "logits, gradients and training steps beside PyTorch's"],
    ["--json", "each quantity with its error and tolerance, for programs"],
  ],
} as const;

await runVerb(verb, async (call) => {
  const { flags, args, say } = call;
  const { maxBinding = null } = flags;
  if (maxBinding !== null && !(Number.isSafeInteger(maxBinding) && maxBinding >= SMALLEST_BINDING)) {
    throw new UserError(`--max-binding is ${maxBinding}, expected a whole number from ${SMALLEST_BINDING}`);
  }
  await takeGpu(flags, say);
  const { comparisons, notRun } = args.length === 0
    ? await verifyDevice(call, { maxBinding })
    : await verifyFolders(call, { maxBinding });
  const outside = comparisons.filter(({ ok }) => !ok).length;
  const problems = [
    ...(outside > 0 ? [`${outside} of ${comparisons.length} quantities are outside their tolerance`] : []),
    ...(notRun > 0 ? [`${notRun} cases could not be run`] : []),
  ];
  if (problems.length > 0) throw new UserError(problems.join(", "));
  say(`All ${comparisons.length} quantities are within their tolerance`);
});

type VerifyCall = Call<typeof options>;

interface Outcome {
  readonly comparisons: readonly Comparison[];
  /** Cases that are damaged, do not fit, or need what does not exist. */
  readonly notRun: number;
}

async function verifyDevice(call: VerifyCall, gpuOptions: GpuOptions): Promise<Outcome> {
  const { screen, say, emit, signal } = call;
  const all: Comparison[] = [];
  let failures = 0;
  preferVulkan();
  const gpu = await openGpu(gpuOptions);
  try {
    const device = await describeDevice(gpu);
    const { maxBinding, maxBuffer, maxGroups, workgroupMemory, workgroupSize } = device.limits;
    emit({ ...device });
    say(`adapter  ${device.adapter}${device.isSoftware ? " (software)" : ""}`);
    say(`driver   ${device.driver}`);
    say(`limits   bindings of ${formatBytes(maxBinding)}, buffers of ${formatBytes(maxBuffer)}`);
    say(
      `         workgroups of ${formatInteger(workgroupSize)}, ${formatBytes(workgroupMemory)} each, ` +
        `${formatInteger(maxGroups)} a dimension`,
    );
    const onCase = ({ op, name }: { op: string; name: string }) => {
      signal.throwIfAborted();
      screen.show(`${op} ${name}`);
    };
    for await (const { op, comparisons, notRun } of verifyOps(gpu, onCase)) {
      screen.show("");
      for (const comparison of comparisons) emitComparison(call, comparison);
      for (const message of notRun) {
        emitNotRun(call, op, message);
        say(`NOT RUN  ${message}`);
      }
      all.push(...comparisons);
      failures += notRun.length;
      if (comparisons.length === 0) continue;
      const closest = comparisons.reduce((a, b) => shareOf(b) > shareOf(a) ? b : a);
      say(
        `${formatLine(op, closest)}  closest of ${comparisons.length}: ${closest.case} ${closest.quantity}`,
      );
      for (const each of comparisons) {
        if (!each.ok) say(formatLine(`  ${each.case} ${each.quantity}`, each));
      }
    }
  } finally {
    gpu.close();
  }
  return { comparisons: all, notRun: failures };
}

async function verifyFolders(call: VerifyCall, gpuOptions: GpuOptions): Promise<Outcome> {
  const { args, screen, say, signal } = call;
  const comparisons: Comparison[] = [];
  let notRun = 0;
  for (const folder of args) {
    const onCompile = (done: number, total: number) => {
      screen.show(done === total ? "" : `${folder}: compiling ${done}/${total}`);
    };
    let name = "";
    try {
      for await (const comparison of verifyFolder(folder, { ...gpuOptions, onCompile })) {
        signal.throwIfAborted();
        if (comparison.case !== name) say(name = comparison.case);
        say(formatLine(`  ${comparison.quantity}`, comparison));
        emitComparison(call, comparison);
        comparisons.push(comparison);
      }
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      emitNotRun(call, caseName(folder), error.message);
      if (args.length === 1) throw error;
      screen.show("");
      say(`NOT RUN  ${error.message}`);
      notRun++;
    }
  }
  return { comparisons, notRun };
}

/** How much of its tolerance an error takes. */
function shareOf({ maxError, tolerance }: Comparison): number {
  return maxError === 0 ? 0 : maxError / tolerance;
}

function formatLine(name: string, { maxError, tolerance, ok }: Comparison): string {
  const number = (value: number) => Number.isInteger(value) ? String(value) : value.toExponential(1);
  return `${ok ? "ok     " : "OUTSIDE"}  ${name.padEnd(44)} ${number(maxError).padStart(8)} of ${
    number(tolerance)
  }`;
}

/** JSON has no infinity, which stands for results that are not numbers. */
function emitComparison({ emit }: VerifyCall, comparison: Comparison): void {
  emit({ ...comparison, maxError: Math.min(comparison.maxError, Number.MAX_VALUE) });
}

function emitNotRun({ emit }: VerifyCall, name: string, message: string): void {
  emit({ case: name, ok: false, error: message });
}
