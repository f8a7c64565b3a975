import { assert, assertEquals, assertThrows } from "@std/assert";
import { shareOut } from "../../src/net/sum/shares.ts";
import { subtreesOf } from "../../src/net/sum/tree.ts";

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

Deno.test("shareOut() gives shares that are sums over few subtrees: lg(share) + 1 at most, up to 50 virtual workers", () => {
  for (let virtualWorkers = 1; virtualWorkers <= 256; virtualWorkers++) {
    for (let members = 1; members <= Math.min(virtualWorkers, 16); members++) {
      for (const share of shareOut(virtualWorkers, members)) {
        const most = Math.floor(Math.log2(Math.ceil(virtualWorkers / members))) + 1;
        const extra = subtreesOf(virtualWorkers, share).length - most;
        assert(
          extra <= (virtualWorkers <= 50 ? 0 : 2),
          `${virtualWorkers} virtual workers, ${members} members`,
        );
      }
    }
  }
});

Deno.test("shareOut() takes no more members than virtual workers", () => {
  assertThrows(() => shareOut(3, 4), Error, "4 members, expected 1 to 3");
  assertThrows(() => shareOut(3, 0), Error, "0 members");
});
