import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { sampleToken, type Sampling } from "../../src/eval/sample.ts";
import { normals, Stream, uniform } from "../../src/random.ts";

const ALL: Sampling = { temperature: 1, topK: null, topP: 1 };

/** (V) logits, half of them rounded so that there are ties. */
function someLogits(size: number, seed: number): Float32Array {
  return normals(size, 2, seed, Stream.test, 0).map((logit) => seed % 2 ? logit : Math.round(logit));
}

/** The probability of each token, by the definition: sort, cut, divide. */
function probabilities(logits: Float32Array, { temperature, topK, topP }: Sampling): number[] {
  const ranked = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
  const share = (ids: number[]) => {
    const total = ids.reduce((sum, id) => sum + Math.exp(logits[id] / temperature), 0);
    return ids.map((id) => Math.exp(logits[id] / temperature) / total);
  };
  let kept = ranked.slice(0, topK ?? logits.length);
  let before = 0;
  const shares = share(kept);
  kept = kept.filter((_, rank) => {
    const isIn = before < topP - 1e-12;
    before += shares[rank];
    return isIn;
  });
  const out = new Array<number>(logits.length).fill(0);
  share(kept).forEach((probability, rank) => out[kept[rank]] = probability);
  return out;
}

Deno.test("sampleToken() draws each token for its part of the unit interval", () => {
  for (let seed = 0; seed < 60; seed++) {
    const pick = <T>(values: readonly T[], of: number) =>
      values[Math.floor(uniform(seed, Stream.test, of, 0) * values.length)];
    const logits = someLogits(pick([1, 3, 7, 65], 1), seed);
    const sampling = {
      temperature: pick([0.3, 1, 2.5], 2),
      topK: pick([null, 1, 2, 5, 100], 3),
      topP: pick([1, 0.05, 0.5, 0.9], 4),
    };
    let below = 0;
    probabilities(logits, sampling).forEach((probability, id) => {
      if (probability > 0) {
        for (const inside of [1e-6, 0.5, 1 - 1e-6]) {
          assertEquals(sampleToken(logits, sampling, below + inside * probability), id, `seed ${seed}`);
        }
      }
      below += probability;
    });
    assertAlmostEquals(below, 1, 1e-9);
  }
});

Deno.test("sampleToken() takes the largest logit at temperature 0, the smallest id of equals", () => {
  const logits = Float32Array.of(-1, 3, 0, 3, 2);
  for (const u of [0, 0.5, 0.999]) {
    assertEquals(sampleToken(logits, { ...ALL, temperature: 0 }, u), 1);
    assertEquals(sampleToken(logits, { ...ALL, topK: 1 }, u), 1);
    assertEquals(sampleToken(logits, { ...ALL, temperature: 1e-300, topP: 0.5 }, u), 1);
    assertEquals(sampleToken(Float32Array.of(0, -0, 0), { ...ALL, topK: 1 }, u), 0);
  }
});

Deno.test("sampleToken() follows the softmax", () => {
  const logits = Float32Array.of(0, Math.log(2), Math.log(5));
  const counts = [0, 0, 0];
  const draws = 4000;
  for (let i = 0; i < draws; i++) counts[sampleToken(logits, ALL, uniform(1, Stream.sample, 0, i))]++;
  [1 / 8, 2 / 8, 5 / 8].forEach((p, id) => {
    const deviation = Math.sqrt(p * (1 - p) / draws);
    assert(Math.abs(counts[id] / draws - p) < 4 * deviation, `token ${id}: ${counts[id]} of ${draws}`);
  });
});

Deno.test("sampleToken() handles logits of any size and refuses those that are no numbers", () => {
  const wide = Float32Array.of(3e38, -3e38, 0);
  assertEquals(sampleToken(wide, { ...ALL, temperature: 100 }, 0.9999), 0);
  for (const bad of [NaN, Infinity, -Infinity]) {
    for (const temperature of [0, 1]) {
      const sampling = { ...ALL, temperature };
      assertThrows(() => sampleToken(Float32Array.of(0, bad), sampling, 0), RangeError, `token 1 is ${bad}`);
    }
  }
});
