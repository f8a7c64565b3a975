import { assert, assertEquals } from "@std/assert";
import { drawFault } from "../../src/chaos/faults.ts";
import { drawer, Stream } from "../../src/random.ts";

function drawMany(seed: number) {
  const draw = drawer(seed, Stream.test, 0);
  return Array.from({ length: 500 }, () => drawFault(draw, 3, 100));
}

Deno.test("drawFault() draws the same faults from the same seed, every kind of them, on every node", () => {
  const faults = drawMany(7);
  assertEquals(drawMany(7), faults);
  assertEquals(new Set(faults.map(({ kind }) => kind)).size, 10);
  const nodes = new Set(faults.flatMap((fault) => ("node" in fault ? [fault.node] : [])));
  assertEquals([...nodes].sort(), [0, 1, 2]);
  assert(faults.some((fault) => fault.kind === "kill" && fault.bytes > 0));
  assert(drawMany(8).some((fault, i) => fault.kind !== faults[i].kind));
});
