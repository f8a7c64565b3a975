import { resolveConfig } from "./src/config/load.ts";
import { openDataset } from "./src/data/dataset.ts";
import { deriveModel, deriveRun } from "./src/config/derive.ts";
import { openLocalEngine } from "./src/engine/localEngine.ts";
const config = resolveConfig({ overrides: Deno.args });
const ds = await openDataset({ data: config.data, tokenizer: config.tokenizer, bpeVocabSize: config.bpeVocabSize, seqLen: config.model.seqLen, seed: config.seed, validationFraction: config.validation.fraction, folder: null });
const model = deriveModel(config.model, ds.tokenizer.vocabSize);
const engine = await openLocalEngine({ model, microBatchSize: deriveRun(config).microBatchSize, columns: model.seqLen, training: { ...config.optimizer, seed: config.seed, virtualWorkers: 1, recompute: config.engine.recompute } }, {});
const b = ds.batch(0, engine.report.microBatchSize);
await engine.beginStep();
for (let i = 0; i < 2; i++) { const t = performance.now(); await engine.accumulate(b, 1); await engine.update({ step: 1, learningRate: 1e-3 }); await engine.metrics(); console.log("step", (performance.now() - t).toFixed(0)); }
let best: any = null, bt = 1e18;
for (let i = 0; i < 3; i++) { const times = await engine.profile(b); const tot = times.reduce((s, t) => s + t.nanoseconds, 0); if (tot < bt) { bt = tot; best = times; } }
const by = new Map<string, { ns: number; flops: number; n: number }>();
for (const t of best) { const e = by.get(t.kernel) ?? { ns: 0, flops: 0, n: 0 }; e.ns += t.nanoseconds; e.flops += t.flops; e.n++; by.set(t.kernel, e); }
console.log("total ms", bt / 1e6);
for (const [k, e] of [...by].sort((a, b) => b[1].ns - a[1].ns).slice(0, 28)) console.log((e.ns / 1e6).toFixed(2).padStart(8), "ms", String(e.n).padStart(4), (e.flops / e.ns).toFixed(1).padStart(6), "GF/s", k.slice(0, 150));
await engine.close();
