import { CHARACTERS } from "./byteAlphabet.ts";
import { Heap } from "./heap.ts";
import { byteLevelJson } from "./json.ts";
import { loadTokenizer } from "./load.ts";
import { gpt2PreTokenizer } from "./preTokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Two adjacent tokens, how often they occur, and in which words they have occurred (some may have lost them since). */
interface Pair {
  readonly left: number;
  readonly right: number;
  count: number;
  readonly words: number[];
}

/** A distinct word of the text: its tokens, and how often it occurs. */
interface Word {
  tokens: number[];
  readonly count: number;
}

/**
 * Trains a byte-level BPE (Sennrich et al. 2016, with GPT-2's words): the ids are the 256 bytes, then one for each
 * merge of the most frequent pair, of equals the one with the smallest ids. Stops early when no pair occurs twice,
 * so that a short text gives fewer than `vocabSize` tokens.
 */
export function trainBpe(text: string, vocabSize: number): Tokenizer {
  const words = countWords(text);
  const pairs = new PairCounts(vocabSize);
  words.forEach(({ tokens, count }, index) => {
    for (let i = 0; i + 1 < tokens.length; i++) pairs.add(tokens[i], tokens[i + 1], index, count);
  });

  const texts = [...CHARACTERS]; // (tokens so far) in the byte alphabet
  const ids = new Map(texts.map((token, id) => [token, id]));
  const merges: [string, string][] = [];
  while (texts.length < vocabSize) {
    const pair = pairs.takeMostFrequent();
    if (pair === undefined) break;
    const merged = texts[pair.left] + texts[pair.right];
    merges.push([texts[pair.left], texts[pair.right]]);
    let id = ids.get(merged); // two merges can lead to the same token
    if (id === undefined) {
      ids.set(merged, id = texts.length);
      texts.push(merged);
    }
    for (const index of pair.words.splice(0)) mergeInWord(words[index], index, pair, id, pairs);
  }
  return loadTokenizer(byteLevelJson(texts, merges, { splitWords: true }));
}

/** The distinct words in order of first occurrence. */
function countWords(text: string): Word[] {
  const counts = new Map<string, number>();
  for (const word of gpt2PreTokenizer(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const utf8 = new TextEncoder();
  return Array.from(counts, ([word, count]) => ({ tokens: Array.from(utf8.encode(word)), count }));
}

/** Replaces the pair by `id` wherever it stands in the word, and moves the counts of its neighbours along. */
function mergeInWord(word: Word, index: number, { left, right }: Pair, id: number, pairs: PairCounts): void {
  const { tokens, count } = word;
  const out: number[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== left || tokens[i + 1] !== right) {
      out.push(tokens[i]);
      continue;
    }
    const before = out.at(-1);
    const after = tokens.at(i + 2);
    pairs.add(left, right, index, -count);
    if (before !== undefined) {
      pairs.add(before, left, index, -count);
      pairs.add(before, id, index, count);
    }
    if (after !== undefined) {
      pairs.add(right, after, index, -count);
      pairs.add(id, after, index, count);
    }
    out.push(id);
    i++;
  }
  word.tokens = out;
}

/** How often each pair occurs, kept up to date as words change, and which one occurs most. */
class PairCounts {
  readonly #vocabSize: number;
  readonly #pairs = new Map<number, Pair>();
  /** Pairs whose count has changed since they were last offered as a candidate, with the count offered. */
  readonly #changed = new Map<Pair, number>();
  readonly #candidates = new Heap<{ readonly pair: Pair; readonly count: number }>((a, b) => {
    if (a.count !== b.count) return a.count > b.count;
    return a.pair.left !== b.pair.left ? a.pair.left < b.pair.left : a.pair.right < b.pair.right;
  });

  constructor(vocabSize: number) {
    this.#vocabSize = vocabSize;
  }

  add(left: number, right: number, word: number, change: number): void {
    const key = left * this.#vocabSize + right;
    let pair = this.#pairs.get(key);
    if (pair === undefined) this.#pairs.set(key, pair = { left, right, count: 0, words: [] });
    if (!this.#changed.has(pair)) this.#changed.set(pair, pair.count);
    pair.count += change;
    if (change > 0 && pair.words.at(-1) !== word) pair.words.push(word);
  }

  /** The most frequent pair, of equals the one with the smallest ids; undefined if none occurs twice. */
  takeMostFrequent(): Pair | undefined {
    for (const [pair, offered] of this.#changed) {
      if (pair.count > 1 && pair.count !== offered) this.#candidates.push({ pair, count: pair.count });
    }
    this.#changed.clear();
    while (true) {
      const top = this.#candidates.pop();
      if (top === undefined) return undefined;
      if (top.count === top.pair.count) return top.pair; // else it changed, and was offered anew
    }
  }
}
