import type { SubwordModel } from "./bpe.ts";
import { byteSpeller } from "./byteFallback.ts";

export interface UnigramOptions {
  /** (vocabSize) each token with its logarithmic probability. */
  readonly vocabulary: readonly (readonly [token: string, score: number])[];
  /** The id of characters that no token covers. */
  readonly unknown: number;
  /** Are they spelled in byte tokens, where the vocabulary has those? */
  readonly byteFallback: boolean;
}

/** A character that no token covers scores this much less than the worst token. */
const UNKNOWN_PENALTY = 10;

/**
 * The unigram language model (Kudo 2018): of all ways to cut a piece into tokens the one with the highest sum of scores,
 * found by Viterbi's algorithm; of equals the one whose last token is longest, then the one before it. A run of unknown
 * characters is one token. As in Hugging Face's tokenizers library.
 */
export function unigramModel({ vocabulary, unknown, byteFallback }: UnigramOptions): SubwordModel {
  const ids = new Map(vocabulary.map(([token], id) => [token, id]));
  const scores = Float64Array.from(vocabulary, ([, score]) => score); // (vocabSize)
  const unknownScore = scores.reduce((lowest, score) => Math.min(lowest, score), Infinity) - UNKNOWN_PENALTY;
  const spell = byteFallback ? byteSpeller(ids) : () => null;
  const trie = new Trie(ids);

  return (piece) => {
    const n = piece.length;
    // Of the best way to cut what stands before each index: its score, its last token and where that starts.
    const best = new Float64Array(n + 1).fill(-Infinity); // (n + 1)
    const last = new Int32Array(n + 1).fill(-1); // (n + 1)
    const from = new Int32Array(n + 1); // (n + 1)
    best[0] = 0;
    const offer = (start: number, end: number, id: number, score: number) => {
      const candidate = best[start] + score;
      if (last[end] >= 0 && candidate <= best[end]) return;
      best[end] = candidate;
      last[end] = id;
      from[end] = start;
    };
    for (let start = 0; start < n;) {
      const next = start + (piece.codePointAt(start)! > 0xffff ? 2 : 1);
      let isCovered = false;
      let node = 0;
      for (let end = start + 1; end <= n && (node = trie.child(node, piece.charCodeAt(end - 1))) > 0; end++) {
        const id = trie.idAt(node);
        if (id < 0) continue;
        offer(start, end, id, scores[id]);
        isCovered ||= end === next;
      }
      if (!isCovered) offer(start, next, unknown, unknownScore);
      start = next;
    }

    const out: number[] = []; // from the last to the first
    for (let end = n; end > 0;) {
      let start = from[end];
      if (last[end] === unknown) {
        while (start > 0 && last[start] === unknown) start = from[start];
        const text = piece.slice(start, end);
        const spelled = ids.has(text) ? null : spell(text);
        for (const id of (spelled ?? [unknown]).reverse()) out.push(id);
      } else {
        out.push(last[end]);
      }
      end = start;
    }
    return Int32Array.from(out.reverse());
  };
}

/** Tokens by their UTF-16 units. Nodes are numbers, 0 the root. */
class Trie {
  /** node * 65536 + unit -> child */
  readonly #children = new Map<number, number>();
  /** By node: the token that ends there, -1 for none. */
  readonly #ids: number[] = [-1];

  constructor(ids: ReadonlyMap<string, number>) {
    for (const [token, id] of ids) {
      let node = 0;
      for (let i = 0; i < token.length; i++) {
        const key = node * 0x10000 + token.charCodeAt(i);
        let child = this.#children.get(key);
        if (child === undefined) {
          this.#children.set(key, child = this.#ids.length);
          this.#ids.push(-1);
        }
        node = child;
      }
      if (node > 0) this.#ids[node] = id;
    }
  }

  /** 0: none. */
  child(node: number, unit: number): number {
    return this.#children.get(node * 0x10000 + unit) ?? 0;
  }

  idAt(node: number): number {
    return this.#ids[node];
  }
}
