/** Which samples and heads of an attention one series of dispatches covers, and which keys a block of queries. */
import type { Live } from "../gpu/kernel.ts";
import { ALIGNMENT, type EngineLimits, type Tensor } from "../gpu/tensor.ts";
import type { AttentionOptions } from "./attention.ts";

/** Queries whose products with their keys exist at the same time: part of the canonical order. */
export const BLOCK = 64;

/** Names of the shader's uniforms. */
export interface AttentionWindow {
  readonly sample0: number;
  readonly samples: number;
  readonly kv_head0: number;
  readonly kv_heads: number;
}

/** The first key that a block's products look at, a multiple of 64: what lies before it is outside of its band. */
export function firstKey({ causal, window }: AttentionOptions, block: number): number {
  if (!causal || !window) return 0;
  return Math.floor(Math.max(0, block * BLOCK + 1 - window) / BLOCK) * BLOCK;
}

/** Keys of a sample in this step. */
export function keyRowsInUse({ keys }: AttentionOptions, live: Live): number {
  return { own: live.columns ?? 0, source: live.source ?? 0, cache: keys.rows }[keys.of];
}

/**
 * Windows so that each operand and the scratch fit a binding: samples first, then key heads.
 *
 * @param operands queries, keys, values: rows of heads of all samples
 * @returns the windows, and how many columns the scratch has
 * @throws RangeError if one sample's rows do not fit a binding
 */
export function cut(
  limits: EngineLimits,
  options: AttentionOptions,
  operands: readonly Tensor[],
): { windows: AttentionWindow[]; pitch: number } {
  const { batch, columns, numHeads: NH, numKvHeads: NK, headDim: HS, keys: { rows: S }, causal } = options;
  const lastBlock = Math.ceil(columns / BLOCK) - 1;
  const mostKeys = causal && options.keys.of === "own"
    ? Math.max(...Array.from({ length: lastBlock + 1 }, (_, block) => {
      return Math.min((block + 1) * BLOCK, columns) - firstKey(options, block);
    }))
    : S;
  const pitch = Math.ceil(mostKeys / 4) * 4;
  const room = (limits.maxBinding - ALIGNMENT) / 4;
  const perSample = Math.max(
    ...operands.map(({ size }) => size / batch),
    columns * NH * HS,
    NK * HS * Math.ceil(S / 4) * 4,
  );
  if (perSample > room) {
    throw new RangeError(
      `One sample's ${columns} tokens of attention take ${perSample * 4} bytes, more than a binding holds (${
        Math.floor(room) * 4
      })`,
    );
  }
  const perKvHead = (NH / NK) * BLOCK * pitch; // elements of the scratch
  const kvHeads = Math.min(NK, Math.floor(room / perKvHead));
  if (kvHeads < 1) {
    throw new RangeError(
      `The scores of ${BLOCK} queries take ${perKvHead * 4} bytes, more than a binding holds`,
    );
  }
  const samples = kvHeads < NK ? 1 : Math.min(batch, Math.floor(room / Math.max(perSample, perKvHead * NK)));
  const windows: AttentionWindow[] = [];
  for (let sample0 = 0; sample0 < batch; sample0 += samples) {
    for (let kvHead0 = 0; kvHead0 < NK; kvHead0 += kvHeads) {
      windows.push({
        sample0,
        samples: Math.min(samples, batch - sample0),
        kv_head0: kvHead0,
        kv_heads: Math.min(kvHeads, NK - kvHead0),
      });
    }
  }
  return { windows, pitch };
}
