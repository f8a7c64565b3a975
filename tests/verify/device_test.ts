import { assert, assertEquals, assertMatch } from "@std/assert";
import { type GpuOptions, openGpu } from "../../src/gpu/device.ts";
import { opCases } from "../../src/ops/cases.ts";
import { describeDevice, type OpResult, verifyOps } from "../../src/verify/device.ts";

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

Deno.test("verifyOps() finds ops right in windows, and tells which cases do not fit", async () => {
  await withGpu({ maxBinding: 16384 }, async (gpu) => {
    const small = { ...gpu, limits: { ...gpu.limits, maxBuffer: 65536 } };
    const seen: string[] = [];
    const results: OpResult[] = [];
    for await (const result of verifyOps(small, ({ op, name }) => seen.push(`${op} ${name}`))) {
      results.push(result);
      if (result.op === "linear") break; // the others: tests/ops, and the verb
    }
    const cases = opCases.filter(({ op }) => results.some((result) => result.op === op));
    assertEquals(seen, cases.map(({ op, name }) => `${op} ${name}`));
    const comparisons = results.flatMap((result) => result.comparisons);
    assertEquals(comparisons.filter(({ ok }) => !ok), []);
    const ran = new Set(comparisons.map((comparison) => comparison.case));
    const notRun = results.flatMap((result) => result.notRun);
    assertEquals(ran.size + notRun.length, cases.length);
    assert(ran.size > 0 && notRun.length > 0);
    for (const message of notRun) assertMatch(message, /: \w+ takes \d+ bytes, more than a buffer /);
  });
});
