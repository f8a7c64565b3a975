import { rotaryDim } from "../../src/config/axes.ts";
import { isBanded, type ModelSpec } from "../../src/config/deriveModel.ts";
import type { Batch } from "../../src/data/batch.ts";
import { type OpName, references } from "../../src/ops/cases.ts";
import type { Input, Options } from "../../src/ops/reference/types.ts";
import { alibiSlopes, distanceBuckets, rotaryTable, sinusoidTable } from "../../src/ops/tables.ts";
import { dropoutSite } from "../../src/model/context.ts";

/** Parameters by name, in f64. */
export type Weights = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly values: Float64Array }
>;

/** Where dropout gets its random numbers from; null: no dropout. */
export type DropoutKey = { readonly seed: number; readonly step: number } | null;

/** The rows of a decoder or of an encoder. */
interface Rows {
  readonly name: "" | "encoder.";
  readonly columns: number;
  readonly inputs: Int32Array;
  readonly places: Int32Array;
  readonly spans: Int32Array;
}

type Span = (column: number) => [number, number];

/** A model's loss, summed over the targets of a batch, on the CPU in f64. */
export function referenceLoss(spec: ModelSpec, weights: Weights, batch: Batch, key: DropoutKey): number {
  const { modelDim: C, numHeads: NH, numKvHeads: NK, headDim: HS, normEps, activation } = spec;
  const B = batch.rows;
  const sampleIds = { shape: [B], values: Int32Array.from(batch.sampleIds) };
  const rate = key === null ? 0 : spec.attentionDropout;

  const run = (op: OpName, inputs: Record<string, Input | undefined>, options: Options = {}) => {
    const given = Object.entries(inputs).filter((entry): entry is [string, Input] => entry[1] !== undefined);
    return references[op].forward(Object.fromEntries(given), options);
  };
  const rows = (values: Float64Array, T: number): Input => ({
    shape: [B * T, values.length / (B * T)],
    values,
  });
  const batched = (values: Float64Array, T: number): Input => {
    return { shape: [B, T, values.length / (B * T)], values };
  };
  const both = (name: string) => ({
    weight: weights.get(`${name}.weight`),
    bias: weights.get(`${name}.bias`),
  });
  const f64 = (values: Float32Array, ...shape: number[]): Input => ({
    shape,
    values: Float64Array.from(values),
  });
  const add = (a: Float64Array, b: Float64Array) => a.map((value, i) => value + b[i]);

  const linear = (name: string, x: Float64Array, T: number) =>
    run("linear", { x: rows(x, T), ...both(name) });
  const norm = (name: string, x: Float64Array, T: number, kind = spec.norm) =>
    run(kind === "layernorm" ? "layerNorm" : "rmsNorm", { x: rows(x, T), ...both(name) }, { eps: normEps });
  const headNorm = (name: string, x: Float64Array, T: number, counts: Options, parts: string[]) => {
    if (!spec.qkNorm) return x;
    const [weight, keyWeight] = parts.map((part) => weights.get(`${name}.${part}_norm.weight`));
    return run("headNorm", { x: rows(x, T), weight, keyWeight }, { ...counts, headDim: HS, eps: normEps });
  };
  const drop = (x: Float64Array, T: number, site: number) =>
    key === null ? x : run("dropout", { x: batched(x, T), sampleIds }, { ...key, site, rate: spec.dropout });

  const attentionOptions = (site: number): Options => ({
    numHeads: NH,
    numKvHeads: NK,
    headDim: HS,
    scale: spec.scaleScores ? 1 / Math.sqrt(HS) : 1,
    window: 0,
    rate,
    site,
    ...key,
  });

  function bias(name: Rows["name"]): Record<string, Input | undefined> {
    if (spec.positions === "alibi") return { slopes: f64(alibiSlopes(NH), NH) };
    if (spec.positions !== "t5") return {};
    const { t5NumBuckets: numBuckets, t5MaxDistance: maxDistance } = spec;
    const buckets = distanceBuckets({ numBuckets, maxDistance, bidirectional: name === "encoder." });
    return {
      table: weights.get(`${name}rel_bias`),
      buckets: { shape: [buckets.length], values: Int32Array.from(buckets) },
    };
  }

  function selfAttention({ name, columns: T, places, spans }: Rows, layer: number, x: Float64Array) {
    const block = `${name}blocks.${layer}.attn`;
    let qkv = linear(`${block}.qkv`, x, T); // (B*T, (NH + 2 NK) HS)
    qkv = headNorm(block, qkv, T, { numHeads: NH, numKeyHeads: NK }, ["q", "k"]);
    const D = rotaryDim(spec, HS);
    if (D > 0) {
      const longest = Math.max(...places) + 1;
      qkv = run("rotary", {
        x: batched(qkv, T),
        places: { shape: [B * T], values: places },
        table: f64(rotaryTable(longest, D, spec.rotaryBase), longest, D),
      }, { numHeads: NH + NK, headDim: HS, interleaved: spec.positions === "rotaryInterleaved" });
    }
    const isNarrow = name === "" && isBanded(spec, layer);
    const options = { ...attentionOptions(dropoutSite(name, layer, 0)), window: isNarrow ? spec.window! : 0 };
    const inputs = {
      qkv: batched(qkv, T),
      spans: { shape: [B, T, 2], values: spans },
      sampleIds,
      ...bias(name),
    };
    return linear(`${block}.out`, run("attention", inputs, options), T);
  }

  function crossAttention(layer: number, x: Float64Array, T: number, encoded: Float64Array, S: number) {
    const block = `blocks.${layer}.cross`;
    const q = headNorm(block, linear(`${block}.q`, x, T), T, { numHeads: NH, numKeyHeads: 0 }, ["q"]);
    const kv = headNorm(block, linear(`${block}.kv`, encoded, S), S, { numHeads: NK, numKeyHeads: 0 }, ["k"]);
    const given = batch.source?.crossSpans;
    const spans = given
      ? Int32Array.from(given)
      : Int32Array.from({ length: 2 * B * T }, (_, i) => i % 2 * S);
    const inputs = {
      q: batched(q, T),
      kv: batched(kv, S),
      spans: { shape: [B, T, 2], values: spans },
      sampleIds,
    };
    return linear(`${block}.out`, run("attention", inputs, attentionOptions(dropoutSite("", layer, 3))), T);
  }

  function mlp(block: string, x: Float64Array, T: number) {
    const up = linear(`${block}.mlp.up`, x, T); // (B*T, F) or (B*T, 2F)
    return linear(`${block}.mlp.down`, run("activation", { x: rows(up, T) }, { kind: activation }), T);
  }

  function embed({ name, columns: T, inputs, places }: Rows) {
    const pick = (table: Input, ids: Int32Array) =>
      run("embedding", { ids: { shape: [B * T], values: ids }, table });
    let x = pick(weights.get("tok_emb")!, inputs); // (B*T, C)
    if (spec.embeddingNorm) x = norm("emb_norm", x, T, "layernorm");
    if (spec.positions === "learned") x = add(x, pick(weights.get(`${name}pos_emb`)!, places));
    if (spec.positions === "sinusoidal") {
      const longest = Math.max(...places) + 1;
      x = add(x, pick(f64(sinusoidTable(longest, C), longest, C), places));
    }
    return drop(x, T, name === "" ? 0 : 0x300000);
  }

  function stack(given: Rows, numLayers: number, source: { encoded: Float64Array; S: number } | null) {
    const { name, columns: T } = given;
    let x = embed(given);
    for (let layer = 0; layer < numLayers; layer++) {
      const block = `${name}blocks.${layer}`;
      const site = (place: number) => dropoutSite(name, layer, place);
      const before = x;
      x = add(x, drop(selfAttention(given, layer, norm(`${block}.norm1`, x, T)), T, site(1)));
      if (source !== null) {
        const looked = crossAttention(layer, norm(`${block}.norm_cross`, x, T), T, source.encoded, source.S);
        x = add(x, drop(looked, T, site(4)));
      }
      const forMlp = norm(`${block}.norm2`, spec.parallelResidual ? before : x, T);
      x = add(x, drop(mlp(block, forMlp, T), T, site(2)));
    }
    return norm(`${name}final_norm`, x, T);
  }

  const ours = (
    name: Rows["name"],
    from: Omit<Batch, "rows" | "targets" | "sampleIds">,
    span: Span,
  ): Rows => {
    const T = from.columns;
    return {
      name,
      columns: T,
      inputs: from.inputs,
      places: from.places
        ? Int32Array.from(from.places)
        : Int32Array.from({ length: B * T }, (_, i) => i % T),
      spans: from.spans
        ? Int32Array.from(from.spans)
        : Int32Array.from({ length: 2 * B * T }, (_, i) => span(Math.floor(i / 2) % T)[i % 2]),
    };
  };
  const { source } = batch;
  const encoded = source &&
    stack(ours("encoder.", source, () => [0, source.columns]), spec.numEncoderLayers, null);
  const decoded = stack(
    ours("", batch, (column) => [0, column + 1]),
    spec.numLayers,
    encoded ? { encoded, S: source.columns } : null,
  );
  const x = spec.scaleOutput ? decoded.map((value) => value / Math.sqrt(C)) : decoded;
  const head = weights.get(spec.tied ? "tok_emb" : "head.weight"); // (V, C)
  const targets = { shape: [B * batch.columns], values: batch.targets };
  return run("crossEntropy", { x: rows(x, batch.columns), weight: head, targets }, {
    zLoss: spec.zLoss,
    softCap: spec.logitSoftCap ?? 0,
  })[0];
}
