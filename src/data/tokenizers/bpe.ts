import { byteSpeller } from "./byteFallback.ts";
import { mergeFunction } from "./merge.ts";

/** A model of subwords: the ids of a piece of text. */
export type SubwordModel = (piece: string) => Int32Array; // (N)

export interface BpeOptions {
  /** Token to id. Holds both parts and the result of every merge. */
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Texts of left and right part, in order of rank. */
  readonly merges: readonly (readonly [left: string, right: string])[];
  /** The id of characters that are no tokens; null: they are left out. */
  readonly unknown: number | null;
  /** Does a run of them have one id together? */
  readonly fuseUnknown: boolean;
  /** Are they spelled in byte tokens, where the vocabulary has those? */
  readonly byteFallback: boolean;
  /** A piece that is a token as a whole is taken so, whatever the merges say. */
  readonly ignoreMerges: boolean;
}

/** BPE over characters (Sennrich et al. 2016), with the results of Hugging Face's tokenizers library. */
export function bpeModel(options: BpeOptions): SubwordModel {
  const { vocabulary, unknown, fuseUnknown, ignoreMerges } = options;
  const idOf = (token: string) => vocabulary.get(token)!;
  const merge = mergeFunction(
    options.merges.map(([left, right]) => [idOf(left), idOf(right), idOf(left + right)]),
  );
  const spell = options.byteFallback ? byteSpeller(vocabulary) : () => null;

  return (piece) => {
    const whole = ignoreMerges ? vocabulary.get(piece) : undefined;
    if (whole !== undefined) return Int32Array.of(whole);
    const symbols: number[] = [];
    let isPending = false; // an unknown character, or a run of them
    for (const character of piece) {
      const id = vocabulary.get(character);
      const spelled = id === undefined ? spell(character) : null;
      if (spelled !== null) {
        symbols.push(...spelled);
      } else if (id !== undefined) {
        if (isPending && unknown !== null) symbols.push(unknown);
        isPending = false;
        symbols.push(id);
      } else {
        if (isPending && !fuseUnknown && unknown !== null) symbols.push(unknown);
        isPending = true;
      }
    }
    if (isPending && unknown !== null) symbols.push(unknown);
    return merge(Int32Array.from(symbols));
  };
}
