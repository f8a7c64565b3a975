import { assertEquals, assertThrows } from "@std/assert";
import { editDistance, nearest } from "../../src/config/nearest.ts";

Deno.test("editDistance() counts insertions, deletions and replacements", () => {
  assertEquals(editDistance("", ""), 0);
  assertEquals(editDistance("", "abc"), 3);
  assertEquals(editDistance("abc", ""), 3);
  assertEquals(editDistance("kitten", "sitting"), 3);
  assertEquals(editDistance("flaw", "lawn"), 2);
});

Deno.test("nearest() takes the first of the nearest candidates", () => {
  assertEquals(nearest("tokns", ["steps", "tokens", "tokes"]), "tokens");
  assertThrows(() => nearest("x", []));
});
