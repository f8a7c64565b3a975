import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { readMetrics, readTree, tinyConfig, tinyRun, withFolder } from "./tinyRun.ts";

for (const [virtualWorkers, wire] of [[1, "f32"], [3, "f32"], [3, "bf16"]]) {
  const what = `${virtualWorkers} virtual workers, ${wire} on the wire`;
  Deno.test(`runTraining() resumes exactly wherever it was stopped, ${what}`, async () => {
    const config = tinyConfig(`scale.virtualWorkers=${virtualWorkers}`, `scale.wire=${wire}`);
    await withFolder(async (folder) => {
      const whole = join(folder, "whole");
      const expected = await tinyRun(whole, config);
      assertEquals([expected.steps, expected.interrupted], [7, false]);
      for (let stopped = 1; stopped <= 7; stopped++) {
        const run = join(folder, `stopped-in-${stopped}`);
        const controller = new AbortController();
        const { signal } = controller;
        const onAccumulate = (_: unknown, step: number) => step === stopped ? controller.abort() : undefined;
        const first = tinyRun(run, config, { signal, onAccumulate });
        if (stopped === 1) {
          assertEquals(await first.catch((error) => error), signal.reason); // there was nothing to save
        } else {
          const { steps, interrupted } = await first;
          assertEquals([steps, interrupted], [stopped - 1, true]);
          assert(Deno.statSync(join(run, "checkpoints", `step-${stopped - 1}`)).isDirectory);
        }
        const second = await tinyRun(run, config);
        assertEquals(second, { ...expected, folder: run });
        const last = join("checkpoints", "step-7");
        assertEquals(readTree(join(run, last)), readTree(join(whole, last)));
        assertEquals(readMetrics(run), readMetrics(whole));
      }
    });
  });
}

Deno.test("runTraining() resumes exactly when it was stopped while it validated", async () => {
  const config = tinyConfig("checkpoint.best=true", "checkpoint.keep=9");
  await withFolder(async (folder) => {
    const whole = join(folder, "whole");
    let evaluations = 0;
    const expected = await tinyRun(whole, config, { onEvaluate: () => void evaluations++ });
    for (let stopped = 1; stopped < evaluations; stopped++) {
      const run = join(folder, `stopped-in-${stopped}`);
      const controller = new AbortController();
      let count = 0;
      const first = await tinyRun(run, config, {
        signal: controller.signal,
        onEvaluate: () => ++count === stopped ? controller.abort() : undefined,
      });
      assertEquals(first.interrupted, true);
      const second = await tinyRun(run, config);
      assertEquals(second, { ...expected, folder: run, finalLoss: second.finalLoss });
      const last = join("checkpoints", "step-7");
      assertEquals(readTree(join(run, last)), readTree(join(whole, last)));
      assertEquals(readMetrics(run), readMetrics(whole));
    }
  });
});

Deno.test("runTraining() has the same digest with and without a folder, and another with another seed", async () => {
  await withFolder(async (folder) => {
    const { digest } = await tinyRun(join(folder, "run"), tinyConfig());
    assertEquals((await tinyRun(null, tinyConfig())).digest, digest);
    assertNotEquals((await tinyRun(null, tinyConfig("seed=1"))).digest, digest);
    assertNotEquals((await tinyRun(null, tinyConfig("scale.virtualWorkers=3"))).digest, digest);
  });
});

Deno.test("runTraining() learns", async () => {
  const config = tinyConfig("train.duration=300 steps", "optimizer.learningRate=0.05");
  const { validation } = await tinyRun(null, config);
  assert(validation !== null && validation.loss < 1.85, `${validation?.loss}, ln(7) is 1.95`);
});
