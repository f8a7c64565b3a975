import { assert, assertEquals, assertRejects } from "@std/assert";
import { Choices } from "../../src/gpu/choices.ts";
import { KernelSource } from "../../src/gpu/kernel.ts";
import { type Candidate, measure, type Question, tune } from "../../src/gpu/tuner.ts";
import { type MatmulKind, matmulPlans, matmulQuestion } from "../../src/ops/matmul.ts";
import { ownGpu, testGpu } from "../_gpu.ts";

const source = new KernelSource(
  "scale.wgsl",
  `// y = FACTOR * x, or one unit in the last place beside it.
//# tensor x : read
//# tensor y : write
//# threads 1
fn kernel(i: u32, lane: u32) {
//# if BROKEN
  nonsense
//# end
  let value = 3.0 * load_x(i);
  store_y(i, bitcast<f32>(bitcast<u32>(value) + ${"${OFF}"}u));
}`,
);

function candidate(name: string, constants: { OFF: number; BROKEN: boolean }): Candidate {
  return {
    name,
    record: (recorder, [x, y]) =>
      recorder.dispatch(source.kernel(constants), { tensors: { x, y }, groups: y.size }),
  };
}

const right = candidate("right", { OFF: 0, BROKEN: false });
const question = (...candidates: Candidate[]): Question => ({ shapes: [[65], [65]], candidates });

Deno.test("measure() discards a candidate that differs from the reference in one bit, or that is refused", async () => {
  const gpu = await ownGpu();
  const off = candidate("off by one bit", { OFF: 1, BROKEN: false });
  const broken = candidate("broken", { OFF: 0, BROKEN: true });
  const same = candidate("same", { OFF: 0, BROKEN: false });
  const results = await measure(gpu, question(right, off, broken, same));
  assertEquals(results.map(({ name, milliseconds }) => [name, milliseconds !== null]), [
    ["right", true],
    ["off by one bit", false],
    ["broken", false],
    ["same", true],
  ]);
  await assertRejects(() => measure(gpu, question(broken, right)), Error, "scale.wgsl:9");
});

Deno.test("tune() answers what was asked, and only that", async () => {
  const gpu = await testGpu();
  const choices = new Choices([["known", "b"]]);
  assertEquals(choices.choose("known", ["a", "b"]), 1);
  assertEquals(choices.choose("open", ["right", "off"]), 0);
  assertEquals(choices.choose("stale", ["right"]), 0);
  assertEquals(choices.open, ["open", "stale"]);
  const off = candidate("off", { OFF: 1, BROKEN: false });
  await tune(gpu, choices, () => question(right, off));
  assertEquals(choices.open, []);
  assertEquals(new Map(choices.answers).get("open"), "right");
  // An answer that no longer names a candidate is asked again.
  const again = new Choices([["open", "gone"]]);
  again.choose("open", ["right"]);
  assertEquals(again.open, ["open"]);
});

Deno.test("matmulPlans() compute the same bits, for software and hardware adapters alike", async () => {
  const gpu = await testGpu();
  for (const isSoftware of [true, false]) {
    const adapter = { ...gpu, limits: { ...gpu.limits, isSoftware } };
    for (const kind of ["NN", "NT", "TN"] as MatmulKind[]) {
      for (const sizes of ["64 32 64", "67 65 35", "36 68 40", "9 5 3"]) {
        const name = `matmul ${kind} ${sizes} test`;
        const results = await measureOnce(adapter, matmulQuestion(adapter.limits, name));
        assertEquals(results, matmulPlans(adapter.limits, kind, Number(sizes.split(" ")[0])).length, name);
      }
    }
  }
});

/** How many candidates agree with the first one bit for bit. */
async function measureOnce(gpu: Parameters<typeof measure>[0], asked: Question): Promise<number> {
  const results = await measure(gpu, asked, 0);
  assert(results.length > 0);
  return results.filter(({ milliseconds }) => milliseconds !== null).length;
}
