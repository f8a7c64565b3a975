import { assert, assertAlmostEquals, assertMatch } from "@std/assert";
import { engineSpec, UNREAD } from "../../src/api/parts.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { planEngine } from "../../src/engine/plan.ts";

async function flopsPerToken(preset: string, recompute: boolean): Promise<number> {
  const config = resolveConfig({ preset, overrides: [`engine.recompute=${recompute}`] });
  return (await planEngine(engineSpec(config, UNREAD))).flopsPerToken;
}

Deno.test("planEngine() counts the operations of Megatron's formula for the 1.3B, less what need not be computed", async () => {
  const [L, h, s, V] = [24, 2048, 2048, 50257];
  // Narayanan et al. 2021, "Efficient large-scale language model training on GPU clusters", for a token
  const megatron = (passes: number) => 24 * passes * L * h * h * (1 + s / (6 * h) + V / (16 * L * h));
  const matrices = 24 * L * h * h;
  const attention = 4 * s * h * L / 2; // masked tiles are passed over
  const head = 2 * h * V;
  const forward = matrices + attention + head;

  const plain = await flopsPerToken("gpt3-1.3b", false);
  assertAlmostEquals(plain / (3 * forward), 1, 0.02);
  assert(plain / megatron(3) > 0.95 && plain < megatron(3), `${plain / megatron(3)}`);

  // a block's last product and the head don't run again: nobody reads them
  const again = matrices * 2 / 3 + attention;
  const recomputed = await flopsPerToken("gpt3-1.3b", true);
  assertAlmostEquals(recomputed / (3 * forward + again), 1, 0.02);
  assert(recomputed / megatron(4) > 0.85 && recomputed < megatron(4), `${recomputed / megatron(4)}`);
});

Deno.test("planEngine() says of rows that are far too long what does not fit, and does not count for minutes", async () => {
  const config = resolveConfig({
    overrides: ["model.vocabSize=300", "model.seqLen=200000", "model.numLayers=1"],
  });
  const { obstacle } = await planEngine(engineSpec(config, UNREAD), { maxBinding: 2 ** 27 });
  assertMatch(obstacle!, /^Attention of 16 rows of 200000 tokens comes in 100000 pieces .* help: /);
});

Deno.test("planEngine() lays out 176 billion parameters and says what does not fit", async () => {
  const config = resolveConfig({ preset: "bloom-176b" });
  const spec = engineSpec(config, UNREAD);
  const { bytes, obstacle } = await planEngine(spec, { maxBinding: 1e6 }); // a row of logits is larger
  assert(bytes.weights >= 4 * 176_247_271_424 && bytes.weights < 4.001 * 176_247_271_424, `${bytes.weights}`);
  assert(obstacle !== null);
});
