import { assertEquals } from "@std/assert";
import type { EngineLimits } from "../../src/gpu/tensor.ts";
import { type OpCase, opCases, type OpName } from "../../src/ops/cases.ts";
import { floatTensor, idTensor, makeCase } from "../../src/ops/cases/types.ts";
import { checkCase, runOp } from "../../src/ops/check.ts";
import { fullBinding, testGpu } from "../_gpu.ts";

const KIB = 1024;
const tiny = opCases.filter(({ sizes }) => sizes === "tiny");

/** Runs cases and reports all that are wrong at once. */
async function check(cases: readonly OpCase[], limits: Partial<EngineLimits> = {}): Promise<void> {
  const gpu = await testGpu(limits);
  const wrong: string[] = [];
  for (const opCase of cases) {
    const name = `${opCase.op} ${opCase.name}`;
    try {
      for (const { quantity, maxError, tolerance, ok } of await checkCase(gpu, opCase)) {
        if (!ok) wrong.push(`${name}: ${quantity} is off by ${maxError}, allowed ${tolerance}`);
      }
    } catch (error) {
      wrong.push(`${name}: ${error}`);
    }
  }
  assertEquals(wrong, []);
}

for (const op of new Set(opCases.map(({ op }) => op))) {
  Deno.test(`checkCase() finds ${op} equal to its reference, forward and backward`, async () => {
    await check(opCases.filter((opCase) => opCase.op === op), await fullBinding());
  });
}

Deno.test("ops agree with their references in windows of 64 KiB and folded grids, which add workgroups beyond the end", () =>
  check(tiny, { maxBinding: 64 * KIB, maxGroups: 7 }));

Deno.test("ops but attention, whose bits are compared below, agree with their references in windows of 16 KiB", () =>
  check(tiny.filter(({ op }) => op !== "attention"), { maxBinding: 16 * KIB }));

Deno.test("kernels for GPUs agree with the references", () => check(tiny, { isSoftware: false }));

Deno.test("products for software adapters agree with the references without subgroups", async () => {
  // other kernels make no use of them
  const products: readonly OpName[] = ["linear", "attention", "crossEntropy"];
  await check(tiny.filter(({ op }) => products.includes(op)), { isSoftware: true, subgroupSize: 0 });
});

/** Each mask and bias, dropout, grouped heads, a band, another stack, odd and even heads: more than a window, all of them. */
const FEW = [
  "B2 T65 NH1 NK1 HS33",
  "B2 T17 NH6 NK3 HS8 rate 0.1",
  "B1 T200 NH2 NK2 HS8 packed window 7 alibi",
  "B2 T130 NH2 NK1 HS8 prefix t5",
  "B2 T67 S130 NH4 NK2 HS8 padded scale 1",
  "B1 T130 S65 NH1 NK1 HS33 padded rate 0.1",
];

Deno.test("attention comes to the same bits with other kernels and in windows of any size", async () => {
  const all = tiny.filter(({ op }) => op === "attention");
  const few = all.filter(({ name }) => FEW.includes(name));
  assertEquals(few.length, FEW.length);
  const uncapped = await fullBinding();
  const variants: readonly (readonly [readonly OpCase[], Partial<EngineLimits>])[] = [
    [all, { isSoftware: false }],
    [all, { maxBinding: 16 * KIB }],
    [all, { maxBinding: 5 * KIB }],
    [few, { isSoftware: true, subgroupSize: 0, maxBinding: 16 * KIB }],
    [few, { isSoftware: false, maxBinding: 5 * KIB }],
  ];
  for (const opCase of all) {
    const run = async (limits: Partial<EngineLimits>) => {
      const { output, gradients } = await runOp(await testGpu({ ...uncapped, ...limits }), opCase);
      return new Map([["output", output], ...gradients]);
    };
    const expected = await run({});
    for (const [cases, limits] of variants) {
      if (!cases.includes(opCase)) continue;
      for (const [quantity, values] of await run(limits)) {
        const different = values.findIndex((value, i) => !Object.is(value, expected.get(quantity)![i]));
        assertEquals(different, -1, `${opCase.name}: ${quantity} with ${JSON.stringify(limits)}`);
      }
    }
  }
});

Deno.test("ops agree with their references where fewer than four rows fit a window", async () => {
  const wide = [1029, 1030].flatMap((C) => [ // windows of 3 rows begin between groups of four values
    makeCase("add", `7x${C}`, {}, [floatTensor("a", [7, C]), floatTensor("b", [7, C])]),
    makeCase("activation", `F${C}`, { kind: "gelu" }, [floatTensor("x", [7, C])]),
    makeCase("dropout", `C${C}`, { rate: 0.5, seed: 3, step: 17, site: 5 }, [
      floatTensor("x", [2, 4, C]),
      idTensor("sampleIds", [2], 100),
    ]),
    makeCase("scale", `C${C}`, { factor: 2 }, [floatTensor("x", [7, C])]),
    makeCase("embedding", `C${C}`, {}, [idTensor("ids", [9], 11), floatTensor("table", [11, C])]),
    makeCase("layerNorm", `C${C}`, { eps: 1e-5 }, [
      floatTensor("x", [7, C]),
      floatTensor("weight", [C]),
      floatTensor("bias", [C]),
    ]),
    makeCase("linear", `K${C}`, {}, [floatTensor("x", [17, C]), floatTensor("weight", [9, C])]),
    makeCase("linear", `N${C}`, {}, [
      floatTensor("x", [7, 9]),
      floatTensor("weight", [C, 9]),
      floatTensor("bias", [C]),
    ]),
    makeCase("crossEntropy", `V${C}`, { zLoss: 0.1, softCap: 0 }, [
      floatTensor("x", [7, 9]),
      floatTensor("weight", [C, 9]),
      idTensor("targets", [7], C),
    ]),
  ]);
  await check(wide, { maxBinding: 16 * KIB });
});
