/**
 * How values travel; `bf16` rounds them to nearest, ties to even. What was rounded is what everybody adds or gets, the
 * member whose it is, too.
 */
export type ValueType = "f32" | "bf16";

export interface WireTypes {
  /** Of pieces: with `bf16` the sum's bits depend on who has which piece. Default: f32 */
  readonly pieceType?: ValueType;
  /** Of sums: the same bits for any number of members. Default: f32 */
  readonly sumType?: ValueType;
}

/** Bytes of a value. */
export const VALUE_BYTES = { f32: 4, bf16: 2 } as const;

/** Do values lose bits on their way? */
export function isRounded({ pieceType, sumType }: WireTypes): boolean {
  return pieceType === "bf16" || sumType === "bf16";
}
