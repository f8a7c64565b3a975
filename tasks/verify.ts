import { RetryError, UserError } from "../src/errors.ts";
import { openGpu } from "../src/gpu/device.ts";
import { verifyFolder } from "../src/verify/caseFolder.ts";
import type { Comparison } from "../src/verify/comparison.ts";
import { describeDevice, verifyOps } from "../src/verify/device.ts";
import { type Call, runVerb } from "./_cli.ts";
import { formatBytes } from "./_progress.ts";

const options = {
  maxBinding: {
    type: "number",
    value: "BYTES",
    help: "caps storage bindings, so that large tensors are met in windows",
  },
} as const;

type VerifyCall = Call<typeof options>;

await runVerb({
  name: "verify",
  summary:
    "Checks this GPU and its driver: every op against the CPU. With folders: runs the reference cases in them.",
  usage: "[FOLDER...]",
  options,
}, async (call) => {
  const { maxBinding = null } = call.flags;
  if (maxBinding !== null && !(Number.isSafeInteger(maxBinding) && maxBinding >= 1024)) {
    throw new UserError(`--max-binding is ${maxBinding}, expected a whole number of bytes from 1024`);
  }
  if (call.args.length === 0) await verifyDevice(call, maxBinding);
  else await verifyFolders(call, maxBinding);
});

async function verifyDevice(call: VerifyCall, maxBinding: number | null): Promise<void> {
  const { say, emit, signal } = call;
  const gpu = await openGpu({ maxBinding });
  const tally = new Tally();
  const status = statusLine(call);
  try {
    const device = await describeDevice(gpu);
    const { limits, subgroupSize } = device;
    emit({ ...device });
    say(`adapter    ${device.adapter}${device.isSoftware ? " (software)" : ""}`);
    say(`driver     ${device.driver}`);
    say(
      `limits     bindings ${formatBytes(limits.maxBinding)}, buffers ${formatBytes(limits.maxBuffer)}, ` +
        `workgroups of ${limits.workgroupSize} with ${formatBytes(limits.workgroupMemory)}, ` +
        `${limits.maxGroups} a dimension, subgroups of ${subgroupSize.join(" to ")}`,
    );
    say("");
    const onCase = ({ op, name }: { op: string; name: string }) => {
      signal.throwIfAborted();
      status.show(`${op} ${name}`);
    };
    for await (const { op, cases, comparisons } of verifyOps(gpu, onCase)) {
      status.clear();
      for (const comparison of comparisons) tally.add(call, comparison);
      const closest = comparisons.reduce((a, b) => share(b) > share(a) ? b : a);
      say(line(op, closest, `${cases} cases, closest: ${closest.quantity} of ${closest.case.slice(op.length + 1)}`));
      for (const bad of comparisons.filter(({ ok }) => !ok)) say(line(bad.quantity, bad, bad.case));
    }
  } finally {
    status.clear();
    gpu.close();
  }
  say("");
  tally.end(call);
}
