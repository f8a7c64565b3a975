import { assertAlmostEquals, assertEquals } from "@std/assert";
import { references } from "../../src/ops/cases.ts";
import type { Inputs, Options } from "../../src/ops/reference/types.ts";
import { dropoutKeeps } from "../../src/random.ts";

/** The keys that each token of a row sees, from and to. */
type Spans = readonly (readonly [number, number])[];

const SPANS = {
  causal: [[0, 1], [0, 2], [0, 3], [0, 4]],
  prefix: [[0, 2], [0, 2], [0, 3], [0, 4]],
  packed: [[0, 1], [0, 2], [2, 3], [2, 4]],
} as const satisfies Record<string, Spans>;

/** The output for one row of tokens, each q heads, k heads and v heads of size 1: all query heads of a token in turn. */
function attend(
  tokens: readonly number[][],
  spans: Spans,
  options: Options = {},
  more: Inputs = {},
): number[] {
  const qkv = { shape: [1, tokens.length, tokens[0].length], values: Float64Array.from(tokens.flat()) };
  return run({ qkv, ...more }, spans.slice(0, tokens.length), options);
}

function run(inputs: Inputs, spans: Spans, options: Options): number[] {
  const defaults = { numHeads: 1, numKvHeads: 1, headDim: 1, scale: 1, window: 0, rate: 0 };
  const ids = { shape: [1, spans.length, 2], values: Int32Array.from(spans.flat()) };
  return [...references.attention.forward({ ...inputs, spans: ids }, { ...defaults, ...options })];
}

function assertClose(actual: readonly number[], expected: readonly number[]): void {
  assertEquals(actual.length, expected.length);
  expected.forEach((value, i) => assertAlmostEquals(actual[i], value, 1e-12));
}

function floats(values: readonly number[]) {
  return { shape: [values.length], values: Float64Array.from(values) };
}

/** Scores are 0, so that the weights of what a token sees are equal; values tell the keys apart. */
const MEANS = [[0, 0, 1], [0, 0, 10], [0, 0, 100], [0, 0, 1000]];

Deno.test("references.attention weighs values by the softmax of the scores, each query head at its kv head", () => {
  // NH 2, NK 1
  const tokens = [[9, 9, 0, 100], [Math.log(3), 0, 1, 200]];
  const out = attend(tokens, SPANS.causal, { numHeads: 2 });
  assertClose(out, [100, 100, 0.25 * 100 + 0.75 * 200, 0.5 * 100 + 0.5 * 200]);
});

Deno.test("references.attention shares kv heads between neighbouring query heads", () => {
  // NH 4, NK 2: q0, q1, q2, q3, k0, k1, v0, v1. One key has weight 1.
  assertClose(attend([[1, 2, 3, 4, 5, 6, 70, 80]], SPANS.causal, { numHeads: 4, numKvHeads: 2 }), [
    70,
    70,
    80,
    80,
  ]);
});

Deno.test("references.attention looks at the keys of the spans: before a token, of a prefix, of a document", () => {
  assertClose(attend(MEANS, SPANS.causal), [1, 11 / 2, 111 / 3, 1111 / 4]);
  assertClose(attend(MEANS, SPANS.prefix), [11 / 2, 11 / 2, 111 / 3, 1111 / 4]);
  assertClose(attend(MEANS, SPANS.packed), [1, 11 / 2, 100, 1100 / 2]);
});

Deno.test("references.attention looks at the last `window` keys of the spans, the token's own included", () => {
  assertClose(attend(MEANS, SPANS.causal, { window: 2 }), [1, 11 / 2, 110 / 2, 1100 / 2]);
  assertClose(attend(MEANS, SPANS.packed, { window: 1 }), [1, 10, 100, 1000]);
  // What lies behind a token does not count.
  assertClose(attend(MEANS, SPANS.prefix, { window: 1 }), [11 / 2, 10, 100, 1000]);
});

Deno.test("references.attention multiplies products by the scale", () => {
  const tokens = [[1, 0, 100], [1, Math.log(3), 200]];
  assertClose(attend(tokens, SPANS.causal, { scale: 2 }), [100, 0.1 * 100 + 0.9 * 200]);
});

Deno.test("references.attention takes slopes times the distance off the scores (ALiBi)", () => {
  // NH 2, NK 1: the second head has no slope.
  const tokens = MEANS.map(([q, k, v]) => [q, q, k, v]);
  const slopes = floats([Math.log(2), 0]);
  const causal = attend(tokens, SPANS.causal, { numHeads: 2 }, { slopes });
  assertClose(causal.slice(4, 6), [(100 + 10 / 2 + 1 / 4) / 1.75, 111 / 3]);
  // Keys behind the token gain.
  assertClose(attend(tokens, SPANS.prefix, { numHeads: 2 }, { slopes }).slice(0, 2), [
    (1 + 2 * 10) / 3,
    11 / 2,
  ]);
});

Deno.test("references.attention adds the table's bias of the distance, held within the reach", () => {
  const table = { shape: [3, 2], values: Float64Array.of(0, 0, Math.log(2), 0, Math.log(4), 0) }; // (buckets, NH)
  const buckets = { shape: [3], values: Int32Array.of(2, 0, 1) }; // of distances -1, 0, 1
  const tokens = MEANS.map(([q, k, v]) => [q, q, k, v]);
  const causal = attend(tokens, SPANS.causal, { numHeads: 2 }, { table, buckets });
  assertClose(causal.slice(4, 6), [(100 + 2 * 10 + 2 * 1) / 5, 111 / 3]);
  const prefix = attend(tokens, SPANS.prefix, { numHeads: 2 }, { table, buckets });
  assertClose(prefix.slice(0, 2), [(1 + 4 * 10) / 5, 11 / 2]);
});

Deno.test("references.attention looks at the keys of another stack", () => {
  // NH 2, NK 1: rows of k, v; the last of them is padding.
  const q = { shape: [1, 1, 2], values: Float64Array.of(0, 1) };
  const kv = { shape: [1, 3, 2], values: Float64Array.of(0, 100, Math.log(3), 200, 50, 1e6) };
  assertClose(run({ q, kv }, [[0, 2]], { numHeads: 2 }), [150, 0.25 * 100 + 0.75 * 200]);
});

Deno.test("references.attention drops weight (h, i, j) of a sample by its element (h T + i) S + j", () => {
  // NH 4, NK 2; queries are 0, so that all weights of query i are 1 / (i + 1); v is 1, 10, 100 by position.
  const [T, NH] = [3, 4];
  const tokens = [1, 10, 100].map((v) => [0, 0, 0, 0, 5, 6, v, v]);
  const sampleIds = { shape: [1], values: Int32Array.of(77) };
  const site = { seed: 1, step: 2, site: 3 };
  const expected = new Array<number>(T * NH).fill(0); // (T, NH)
  for (let h = 0; h < NH; h++) {
    for (let i = 0; i < T; i++) {
      for (let j = 0; j <= i; j++) {
        if (dropoutKeeps(site, 77, (h * T + i) * T + j, 0.5)) expected[i * NH + h] += 2 * 10 ** j / (i + 1);
      }
    }
  }
  const options = { numHeads: NH, numKvHeads: 2, rate: 0.5, ...site };
  assertClose(attend(tokens, SPANS.causal, options, { sampleIds }), expected);
});
