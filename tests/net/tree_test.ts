import { assertEquals, assertThrows } from "@std/assert";
import { type Share, shareOut } from "../../src/net/sum/shares.ts";
import { planSum, subtreesOf } from "../../src/net/sum/tree.ts";
import { bits, counterTreeSum, hardVector, randomOf } from "./support.ts";

/** [0, total) cut at random places; some parts may be empty. */
function randomShares(total: number, parts: number, next: () => number): Share[] {
  const cuts = Array.from({ length: parts - 1 }, () => Math.floor(next() * (total + 1))).sort((a, b) =>
    a - b
  );
  return Array.from({ length: parts }, (_, k) => ({ from: cuts[k - 1] ?? 0, to: cuts[k] ?? total }));
}

Deno.test("planSum() gives the bits of a single node, for random partitions into shares", () => {
  const next = randomOf(1);
  for (let trial = 0; trial < 300; trial++) {
    const total = 1 + Math.floor(next() * 64);
    const shares = randomShares(total, 1 + Math.floor(next() * 9), next);
    const workers = Array.from({ length: total }, (_, worker) => hardVector(17, trial * 64 + worker));
    const plan = planSum(total, shares);
    const values = plan.pieces.map(({ from, to }) => counterTreeSum(workers.slice(from, to)));
    for (const { target, left, right } of plan.additions) {
      values[target] = Float32Array.from(values[left], (x, i) => x + values[right][i]);
    }
    assertEquals(bits(values[plan.root]), bits(counterTreeSum(workers)), JSON.stringify({ total, shares }));
    assertEquals(plan.registers, Math.max(0, values.length - plan.pieces.length));
  }
});

Deno.test("counterTreeSum() depends on the order, so that the tests can fail", () => {
  const workers = Array.from({ length: 7 }, (_, worker) => hardVector(64, worker));
  const chain = workers.reduce((sum, x) => sum.map((value, i) => value + x[i]));
  assertEquals(bits(chain).every((word, i) => word === bits(counterTreeSum(workers))[i]), false);
});

Deno.test("planSum() adds as many pieces as a share needs, at most 2 lg V", () => {
  assertEquals(subtreesOf(8, { from: 4, to: 8 }), [{ from: 4, to: 8 }]);
  assertEquals(subtreesOf(8, { from: 1, to: 7 }).map(({ from }) => from), [1, 2, 4, 6]);
  assertEquals(subtreesOf(6, { from: 2, to: 6 }), [{ from: 2, to: 4 }, { from: 4, to: 6 }]);
  assertEquals(planSum(8, shareOut(8, 1)), {
    pieces: [{ member: 0, from: 0, to: 8 }],
    additions: [],
    registers: 0,
    root: 0,
  });
  for (const members of [2, 3, 5, 7, 64]) {
    const { pieces } = planSum(64, shareOut(64, members));
    for (let k = 0; k < members; k++) {
      const own = pieces.filter(({ member }) => member === k);
      assertEquals(own.length >= 1 && own.length <= 12, true);
    }
  }
});

Deno.test("planSum() refuses shares that leave out or repeat a worker", () => {
  assertThrows(() => planSum(4, [{ from: 0, to: 2 }, { from: 3, to: 4 }]), Error, "don't cover");
  assertThrows(() => planSum(4, [{ from: 0, to: 3 }, { from: 2, to: 4 }]), Error, "don't cover");
  assertThrows(() => planSum(4, [{ from: 0, to: 3 }]), Error, "don't cover");
  assertThrows(() => planSum(0, []), Error, "don't cover");
});
