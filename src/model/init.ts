import { normals, Stream } from "../random.ts";

/** How the weights are drawn at the start of a run. */
export interface InitOptions {
  readonly seed: number;
  /** Standard deviation of matrices and embeddings. */
  readonly initStd: number;
  /**
   * Output projections, which add to the residual stream, start with initStd / sqrt(2 layers) of their stack, as in
   * Megatron; cross-attention's, too.
   */
  readonly scaledResidualInit: boolean;
  readonly numLayers: number;
  /** 0: there is no encoder. */
  readonly numEncoderLayers: number;
}

const RESIDUAL_OUTPUT = /\.(attn\.out|cross\.out|mlp\.down)\.weight$/;

/**
 * The values that a parameter starts with: N(0, initStd) for matrices and embeddings (two dimensions), 1 for norm
 * weights, 0 for biases. The scheme is GPT-2's (Radford et al. 2019, section 2.3).
 *
 * A tensor's random numbers are keyed by its name, so they don't depend on which other tensors the model has.
 *
 * @returns as many values as the product of `parameter.shape`, row-major
 */
export function initialValues(
  parameter: { readonly name: string; readonly shape: readonly number[] },
  options: InitOptions,
): Float32Array<ArrayBuffer> {
  const count = parameter.shape.reduce((product, size) => product * size, 1);
  if (parameter.name.endsWith(".bias")) return new Float32Array(count);
  if (parameter.shape.length === 1) return new Float32Array(count).fill(1);
  const scaled = options.scaledResidualInit && RESIDUAL_OUTPUT.test(parameter.name);
  const layers = parameter.name.startsWith("encoder.") ? options.numEncoderLayers : options.numLayers;
  const std = scaled ? options.initStd / Math.sqrt(2 * layers) : options.initStd;
  return normals(count, std, options.seed, Stream.init, nameKey(parameter.name));
}

/** FNV-1a, 32 bits: the substream of a tensor's random numbers. */
function nameKey(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
