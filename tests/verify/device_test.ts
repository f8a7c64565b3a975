import { assert, assertEquals } from "@std/assert";
import { type GpuOptions, openGpu } from "../../src/gpu/device.ts";
import { opCases } from "../../src/ops/cases.ts";
import { describeDevice, verifyOps } from "../../src/verify/device.ts";

async function withGpu(
  options: GpuOptions,
  body: (gpu: Awaited<ReturnType<typeof openGpu>>) => Promise<void>,
) {
  const gpu = await openGpu(options);
  try {
    await body(gpu);
  } finally {
    gpu.close();
  }
}

Deno.test("describeDevice() tells adapter, driver and limits", async () => {
  await withGpu({ maxBinding: 65536 }, async (gpu) => {
    const { adapter, driver, limits, subgroupSize: [fewest, most] } = await describeDevice(gpu);
    assert(adapter.length > 0 && driver.length > 0 && fewest <= most);
    assertEquals(limits.maxBinding, 65536);
    assert(Object.values(limits).every((limit) => limit > 0));
  });
});

Deno.test("verifyOps() finds every op right in windows, and tells which cases do not fit", async () => {
  await withGpu({ maxBinding: 65536 }, async (gpu) => {
    const seen: string[] = [];
    const results = await Array.fromAsync(verifyOps(gpu, ({ op, name }) => seen.push(`${op} ${name}`)));
    assertEquals(seen, opCases.map(({ op, name }) => `${op} ${name}`));
    const comparisons = results.flatMap((result) => result.comparisons);
    assertEquals(comparisons.filter(({ ok }) => !ok), []);
    const ran = new Set(comparisons.map((comparison) => comparison.case));
    const notRun = results.flatMap((result) => result.notRun);
    assertEquals(ran.size + notRun.length, opCases.length);
    for (const message of notRun) assert(message.includes("more than a binding holds"), message);
  });
});
