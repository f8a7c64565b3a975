import { assertEquals } from "@std/assert";
import { Stopwatch } from "../../src/net/member/stopwatch.ts";

Deno.test("Stopwatch adds up in how long it ran, and begins anew with a lap", () => {
  let now = 7;
  const watch = new Stopwatch(() => now);
  watch.start();
  now += 10;
  watch.start(); // it runs already
  now += 5;
  watch.stop();
  watch.stop();
  now += 100;
  assertEquals(watch.elapsed, 15);
  watch.start();
  now += 1;
  assertEquals([watch.elapsed, watch.lap(), watch.elapsed], [16, 16, 0]);
  now += 100;
  assertEquals(watch.lap(), 0);
});
