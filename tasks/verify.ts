import { UserError } from "../src/errors.ts";
import { type GpuOptions, openGpu } from "../src/gpu/device.ts";
import { verifyFolder } from "../src/verify/caseFolder.ts";
import type { Comparison } from "../src/verify/comparison.ts";
import { describeDevice, verifyOps } from "../src/verify/device.ts";
import { type Call, runVerb } from "./_cli.ts";
import { formatBytes } from "./_progress.ts";

const SMALLEST_BINDING = 1024;

const options = {
  maxBinding: {
    type: "number",
    value: "BYTES",
    help: "caps bindings, so that small tensors are cut into windows too",
  },
} as const;

const verb = {
  name: "verify",
  summary:
    "Checks the GPU and its driver, every op against the CPU; or runs the reference cases in the folders given.",
  usage: "[FOLDER...]",
  options,
};

await runVerb(verb, async (call) => {
  const { flags, args, say } = call;
  const { maxBinding = null } = flags;
  if (maxBinding !== null && !(Number.isSafeInteger(maxBinding) && maxBinding >= SMALLEST_BINDING)) {
    throw new UserError(`--max-binding is ${maxBinding}, expected a whole number from ${SMALLEST_BINDING}`);
  }
  const { comparisons, notRun } = args.length === 0
    ? await verifyDevice(call, { maxBinding })
    : await verifyFolders(call, { maxBinding });
  const outside = comparisons.filter(({ ok }) => !ok).length;
  const problems = [
    ...(outside > 0 ? [`${outside} of ${comparisons.length} quantities are outside their tolerance`] : []),
    ...(notRun > 0 ? [`${notRun} of ${args.length} cases could not be run`] : []),
  ];
  if (problems.length > 0) throw new UserError(problems.join(", "));
  say(`all ${comparisons.length} quantities are within their tolerance`);
});

interface Outcome {
  readonly comparisons: readonly Comparison[];
  /** Cases that are damaged or need what does not exist. */
  readonly notRun: number;
}

type VerifyCall = Call<typeof options>;

async function verifyDevice(call: VerifyCall, gpuOptions: GpuOptions): Promise<Outcome> {
  const { say, emit, signal } = call;
  const all: Comparison[] = [];
  const gpu = await openGpu(gpuOptions);
  try {
    const device = await describeDevice(gpu);
    const { maxBinding, maxBuffer, maxGroups, workgroupMemory, workgroupSize } = device.limits;
    emit({ ...device });
    say(`adapter  ${device.adapter}${device.isSoftware ? " (software)" : ""}`);
    say(`driver   ${device.driver}`);
    say(`limits   bindings of ${formatBytes(maxBinding)}, buffers of ${formatBytes(maxBuffer)}`);
    say(
      `         workgroups of ${workgroupSize}, ${
        formatBytes(workgroupMemory)
      } each, ${maxGroups} a dimension`,
    );
    for await (
      const { op, cases, comparisons } of verifyOps(gpu, ({ op, name }) => {
        signal.throwIfAborted();
        showStatus(call, `${op} ${name}`);
      })
    ) {
      showStatus(call, "");
      comparisons.forEach((comparison) => emitComparison(call, comparison));
      const closest = comparisons.reduce((a, b) => shareOf(b) > shareOf(a) ? b : a);
      const outside = comparisons.filter(({ ok }) => !ok);
      say(formatLine(op, closest) + `  (${cases} cases, closest: ${closest.case} ${closest.quantity})`);
      for (const each of outside) say(formatLine(`  ${each.case} ${each.quantity}`, each));
      all.push(...comparisons);
    }
  } finally {
    gpu.close();
  }
  return { comparisons: all, notRun: 0 };
}

async function verifyFolders(call: VerifyCall, gpuOptions: GpuOptions): Promise<Outcome> {
  const { args, say, emit, signal } = call;
  const comparisons: Comparison[] = [];
  let notRun = 0;
  for (const folder of args) {
    let current = "";
    const onCompile = (done: number, total: number) => {
      showStatus(call, done === total ? "" : `${folder}: compiling ${done}/${total}`);
    };
    try {
      for await (const comparison of verifyFolder(folder, { ...gpuOptions, onCompile })) {
        signal.throwIfAborted();
        if (comparison.case !== current) say(current = comparison.case);
        say(formatLine(`  ${comparison.quantity}`, comparison));
        emitComparison(call, comparison);
        comparisons.push(comparison);
      }
    } catch (error) {
      if (!(error instanceof UserError) || args.length === 1) throw error;
      say(`not run: ${error.message}`);
      emit({ case: folder, error: error.message, ok: false });
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
  return `${ok ? "ok     " : "OUTSIDE"}  ${name.padEnd(48)}  ${number(maxError).padStart(8)} of ${
    number(tolerance)
  }`;
}

/** JSON has no infinity, which stands for results that are not numbers. */
function emitComparison({ emit }: VerifyCall, comparison: Comparison): void {
  emit({ ...comparison, maxError: Math.min(comparison.maxError, Number.MAX_VALUE) });
}

/** A line that the next one replaces; on terminals only. */
function showStatus({ out }: VerifyCall, text: string): void {
  const columns = out.columns();
  if (columns !== null) out.write(`\r\x1b[K${text.slice(0, columns - 1)}`);
}
