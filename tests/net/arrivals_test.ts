import { assertEquals } from "@std/assert";
import { Arrivals } from "../../src/net/sum/arrivals.ts";

Deno.test("Arrivals names the peer whose last frame of a step came last, and by how much", () => {
  const arrivals = new Arrivals();
  assertEquals(arrivals.slowest(1, 100), null);
  arrivals.note("a", 1, 90);
  assertEquals(arrivals.slowest(1, 100), null);
  arrivals.note("b", 1, 130);
  assertEquals(arrivals.slowest(1, 100), { peer: "b", afterMs: 30, beyondMs: 30 });
  arrivals.note("a", 1, 120);
  assertEquals(arrivals.slowest(1, 100), { peer: "b", afterMs: 30, beyondMs: 10 });
  arrivals.note("a", 1, 150);
  assertEquals(arrivals.slowest(1, 100), { peer: "a", afterMs: 50, beyondMs: 20 });
  // who is ahead with the next step was not late with this one
  arrivals.note("a", 2, 160);
  assertEquals(arrivals.slowest(1, 100), { peer: "b", afterMs: 30, beyondMs: 30 });
  arrivals.clear();
  assertEquals(arrivals.slowest(2, 0), null);
});
