/** Rounding of sums to bfloat16. */

/** Values at the end of a sum that are exact: of losses, targets and the like. */
export const EXACT_VALUES = 4;

const QUIET = 0x400000;
const INFINITY = 0x7f800000;

/** Rounds to nearest, ties to even, in place; a NaN stays one. */
export function roundToBf16(values: Float32Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    const isNan = (word & 0x7fffffff) > INFINITY;
    words[i] = (isNan ? word | QUIET : word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  }
}
