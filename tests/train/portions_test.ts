import { assert, assertEquals } from "@std/assert";
import { inPortions } from "../../src/train/portions.ts";

Deno.test("inPortions() works on each value once, in order, lets timers in between, and ends with the signal", async () => {
  const done: string[] = [];
  const timer = setInterval(() => done.push("timer"));
  const stop = new AbortController();
  const work = (from: number, to: number) => {
    done.push(`${from} to ${to}`);
    if (from === 20) stop.abort();
  };
  await inPortions(3, 10, work, stop.signal, 4);
  assert(done.includes("timer"));
  await inPortions(10, 11, work, stop.signal, 4);
  await inPortions(12, 40, work, stop.signal, 8);
  await inPortions(40, 41, work, stop.signal, 8);
  clearInterval(timer);
  const portions = ["3 to 7", "7 to 10", "10 to 11", "12 to 20", "20 to 28"];
  assertEquals(done.filter((each) => each !== "timer"), portions);
});
