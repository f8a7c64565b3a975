import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { checkMemory } from "../../src/engine/memory.ts";
import { UserError } from "../../src/errors.ts";
import { testGpu } from "../_gpu.ts";

const { isSoftware } = await testGpu();

interface Training {
  /** Bytes: what the engine said before, and what the process's memory grew by. */
  readonly planned: number;
  readonly grown: number;
  readonly steps: number;
}

/** A training in a process of its own. */
async function train(vocabSize: number): Promise<Training> {
  const script = fromFileUrl(new URL("_trainLarge.ts", import.meta.url));
  const args = ["run", "-A", "--no-check", script, String(vocabSize)];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test({
  name: "a training takes the memory that was planned",
  ignore: Deno.build.os !== "linux" || !isSoftware, // a software driver's memory is the process's
  async fn() {
    const [small, large] = [await train(67), await train(100_003)];
    assertEquals([small.steps, large.steps], [3, 3]);
    const planned = large.planned - small.planned;
    assert(planned > 7e8, `${planned} bytes`);
    // The driver's compiler and the kernels that it has made are in this process, too: the same for both.
    assertAlmostEquals(large.grown - small.grown, planned, 0.1 * planned);
  },
});

Deno.test("checkMemory() says what helps: a micro-batch only where activations are too much", () => {
  const gib = 2 ** 30;
  const report = (gradients: number, activations: number, hostSums = 0, isSoftware = true) => ({
    adapter: "",
    isSoftware,
    microBatchSize: 1,
    columns: 1,
    parameters: [],
    optimizerState: [],
    sumLength: 0,
    hostSumBytes: hostSums * gib,
    bytes: {
      weights: gib,
      gradients: gradients * gib,
      moments: 2 * gib,
      activations: activations * gib,
      total: (3 + gradients + activations) * gib,
    },
    flopsPerToken: 0,
    startup: { deviceMs: 0, recordMs: 0, compileMs: 0, placeMs: 0 },
  });
  const cases: [number, number, string][] = [
    [
      1,
      4,
      "needs 8.00 GiB of memory, but 4.50 GiB are free: lower train.microBatchSize or set engine.recompute=true",
    ],
    [
      1.6,
      0,
      "4.50 GiB are free: parameters and optimizer alone take 4.60 GiB, choose a smaller model or fewer scale",
    ],
  ];
  for (const [gradients, activations, message] of cases) {
    assertThrows(() => checkMemory(report(gradients, activations), 4.5 * gib), UserError, message);
  }
  assertThrows(
    () => checkMemory(report(1, 1), 3 * gib),
    UserError,
    "alone take 4.00 GiB, choose a smaller model",
  );
  checkMemory(report(1, 0.5), 4.5 * gib);
  // partial sums in the host's memory
  checkMemory(report(0.5, 0, 1), 4.5 * gib);
  const sums =
    "needs 5.50 GiB of memory, but 4.50 GiB are free: parameters and optimizer alone take 5.50 GiB, " +
    "choose a smaller model or fewer scale.virtualWorkers";
  assertThrows(() => checkMemory(report(0.5, 0, 2), 4.5 * gib), UserError, sums);
  checkMemory(report(0.5, 9, 4, false), 4.5 * gib);
  const beside = "engine.hostSums needs 5.00 GiB of the machine's memory, but 4.50 GiB are free";
  assertThrows(() => checkMemory(report(0.5, 9, 5, false), 4.5 * gib), UserError, beside);
});
