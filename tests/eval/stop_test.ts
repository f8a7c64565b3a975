import { assertEquals } from "@std/assert";
import { stopFilter } from "../../src/eval/stop.ts";
import { Stream, uniform } from "../../src/random.ts";

/** What comes out piece by piece, the end as the last. */
function through(stops: string[], pieces: string[]): string[] {
  const filter = stopFilter(stops);
  return [...pieces.map((piece) => filter.push(piece)), filter.end()];
}

Deno.test("stopFilter() ends before a stop string that spans pieces", () => {
  assertEquals(through(["END"], ["one E", "N", "D two", "three"]), ["one ", "", "", "", ""]);
  assertEquals(through(["\n\n"], ["a\n", "b\n", "\nc"]), ["a", "\nb", "", ""]);
});

Deno.test("stopFilter() gives out what it held back once it is no stop string", () => {
  assertEquals(through(["END"], ["an E", "N", "d"]), ["an ", "", "ENd", ""]);
  assertEquals(through(["END"], ["an E", "N"]), ["an ", "", "EN"]);
  assertEquals(through(["aab"], ["aaa", "a", "c"]), ["a", "a", "aac", ""]);
  assertEquals(through([], ["a", "b"]), ["a", "b", ""]);
});

Deno.test("stopFilter() takes the stop string that is complete first, then the longest", () => {
  assertEquals(through(["abcd", "c"], ["xabcd"]).join(""), "xab");
  assertEquals(through(["bc", "abc"], ["xabc"]).join(""), "x");
});

Deno.test("stopFilter() lets the same text through however it is cut", () => {
  for (let seed = 0; seed < 200; seed++) {
    const draw = (of: number, index: number, below: number) =>
      Math.floor(uniform(seed, Stream.test, of, index) * below);
    const word = (of: number, length: number) =>
      Array.from({ length }, (_, i) => "abc"[draw(of, i, 3)]).join("");
    const text = word(1, 30);
    const stops = [word(2, 1 + draw(3, 0, 5)), word(4, 2 + draw(3, 1, 4))];
    const pieces: string[] = [];
    for (let at = 0; at < text.length;) {
      const length = 1 + draw(5, at, 4);
      pieces.push(text.slice(at, at + length));
      at += length;
    }
    // by the definition: the shortest beginning that ends in a stop string, without the longest such one
    const begun = [...text].map((_, i) => text.slice(0, i + 1));
    const stopped = begun.find((part) => stops.some((stop) => part.endsWith(stop)));
    const longest = Math.max(0, ...stops.map((stop) => stopped?.endsWith(stop) ? stop.length : 0));
    const expected = stopped === undefined ? text : stopped.slice(0, stopped.length - longest);
    assertEquals(through(stops, pieces).join(""), expected, `${text} ${stops}`);
    assertEquals(through(stops, [text]).join(""), expected);
  }
});
