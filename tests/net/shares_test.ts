import { assert, assertEquals, assertThrows } from "@std/assert";
import { shareOut } from "../../src/net/shares.ts";

Deno.test("shareOut() gives contiguous, balanced, non-empty ranges", () => {
  for (const virtualWorkers of [1, 2, 3, 8, 13, 64]) {
    for (let members = 1; members <= Math.min(virtualWorkers, 9); members++) {
      const shares = shareOut(virtualWorkers, members);
      assertEquals(shares.length, members);
      assertEquals([shares[0].from, shares[members - 1].to], [0, virtualWorkers]);
      shares.slice(1).forEach(({ from }, k) => assertEquals(from, shares[k].to));
      const sizes = shares.map(({ from, to }) => to - from);
      assert(Math.min(...sizes) >= 1 && Math.max(...sizes) - Math.min(...sizes) <= 1, `${sizes}`);
    }
  }
});

Deno.test("shareOut() takes no more members than virtual workers", () => {
  assertThrows(() => shareOut(3, 4), Error, "4 members, expected 1 to 3");
  assertThrows(() => shareOut(3, 0), Error, "0 members");
});
