import type { ModelSpec } from "../../src/config/derive.ts";
import type { Batch } from "../../src/data/batch.ts";
import { type OpName, references } from "../../src/ops/cases.ts";
import type { Input, Options } from "../../src/ops/reference/types.ts";

/** Parameters by name, in f64. */
export type Weights = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly values: Float64Array }
>;

/** Where dropout gets its random numbers from; null: no dropout. */
export type DropoutKey = { readonly seed: number; readonly step: number } | null;

/** A decoder's loss, summed over the targets of a batch, on the CPU in f64. */
export function referenceLoss(spec: ModelSpec, weights: Weights, batch: Batch, key: DropoutKey): number {
  const { modelDim: C, numHeads, numKvHeads, headDim, normEps, activation } = spec;
  const [B, T] = [batch.rows, batch.columns];
  const M = B * T;
  const sampleIds = { shape: [B], values: Int32Array.from(batch.sampleIds) };

  const run = (
    op: OpName,
    inputs: Record<string, Input | undefined>,
    options: Options = {},
  ): Float64Array => {
    const given = Object.entries(inputs).filter((entry): entry is [string, Input] => entry[1] !== undefined);
    return references[op].forward(Object.fromEntries(given), options);
  };
  const rows = (values: Float64Array): Input => ({ shape: [M, values.length / M], values }); // (M, width)
  const batched = (values: Float64Array): Input => ({ shape: [B, T, values.length / M], values }); // (B, T, width)
  const both = (name: string) => ({
    weight: weights.get(`${name}.weight`),
    bias: weights.get(`${name}.bias`),
  });

  const linear = (name: string, x: Float64Array) => run("linear", { x: rows(x), ...both(name) });
  const norm = (name: string, x: Float64Array) =>
    run(spec.norm === "layernorm" ? "layerNorm" : "rmsNorm", { x: rows(x), ...both(name) }, { eps: normEps });
  const drop = (x: Float64Array, site: number) =>
    key === null ? x : run("dropout", { x: batched(x), sampleIds }, { ...key, site, rate: spec.dropout });
  const add = (a: Float64Array, b: Float64Array) => run("add", { a: rows(a), b: rows(b) });

  const ids = { shape: [M], values: batch.inputs };
  let x = run("embedding", { ids, table: weights.get("tok_emb") }); // (M, C)
  if (spec.positions === "learned") x = run("positions", { x: batched(x), table: weights.get("pos_emb") });
  x = drop(x, 0);
  for (let layer = 0; layer < spec.numLayers; layer++) {
    const name = `blocks.${layer}`;
    const site = 1 + 3 * layer;
    const rate = key === null ? 0 : spec.attentionDropout;
    const qkv = linear(`${name}.attn.qkv`, norm(`${name}.norm1`, x)); // (M, (NH + 2 NK) HS)
    const options = { numHeads, numKvHeads, headDim, rate, site, ...key };
    const heads = run("attention", { qkv: batched(qkv), sampleIds }, options); // (M, NH HS)
    x = add(x, drop(linear(`${name}.attn.out`, heads), site + 1));
    const up = linear(`${name}.mlp.up`, norm(`${name}.norm2`, x)); // (M, F) or (M, 2F)
    const hidden = run("activation", { x: rows(up) }, { kind: activation });
    x = add(x, drop(linear(`${name}.mlp.down`, hidden), site + 2));
  }
  const head = weights.get(spec.tied ? "tok_emb" : "head.weight"); // (V, C)
  const targets = { shape: [M], values: batch.targets };
  const final = { shape: [M, C], values: norm("final_norm", x) };
  return run("crossEntropy", { x: final, weight: head, targets }, { zLoss: spec.zLoss })[0];
}
