import { assertAlmostEquals, assertEquals } from "@std/assert";
import { prefix } from "../../../src/data/objectives/prefix.ts";
import { drawer, Stream } from "../../../src/random.ts";

const rule = (seqLen: number) =>
  prefix({
    architecture: "nonCausalDecoder",
    objective: { kind: "prefix", noiseDensity: 0.15, meanSpanLength: 3 },
    seqLen,
  });

Deno.test("prefix() gives 1 to T - 1 tokens, each number as often", () => {
  for (const T of [2, 3, 8]) {
    const window = Uint16Array.from({ length: T + 1 }, (_, i) => i);
    const counts = new Map<number, number>();
    const rows = 500 * (T - 1);
    for (let sample = 0; sample < rows; sample++) {
      const { tokens, given } = rule(T).example(window, drawer(1, Stream.objective, sample));
      assertEquals(tokens, window);
      counts.set(given, (counts.get(given) ?? 0) + 1);
    }
    assertEquals([...counts.keys()].sort(), Array.from({ length: T - 1 }, (_, i) => i + 1));
    for (const count of counts.values()) assertAlmostEquals(count, 500, 5 * Math.sqrt(500));
  }
});

Deno.test("prefix() leaves the last token of a short window to be predicted", () => {
  for (const length of [2, 3, 4]) {
    for (let sample = 0; sample < 20; sample++) {
      const { given } = rule(9).example(new Uint16Array(length), drawer(1, Stream.objective, sample));
      assertEquals(given >= 1 && given < length, true);
    }
  }
  assertEquals(rule(1).windowLength, 0);
  assertEquals(rule(2).windowLength, 3);
});
