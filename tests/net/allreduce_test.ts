import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Frame } from "../../src/net/link/frame.ts";
import { type Bucket, ExchangeError, type Reduced } from "../../src/net/sum/allreduce.ts";
import { reduceArrays } from "../../src/net/sum/reduceArrays.ts";
import { shareOut } from "../../src/net/sum/shares.ts";
import { planSum, subtreesOf } from "../../src/net/sum/tree.ts";
import { roundToBf16 } from "../../src/train/bf16.ts";
import { idOf, Network } from "./network.ts";
import { counterTreeSum, hardVector, sameBits } from "./support.ts";

/** A vector for each virtual worker, repeating after a prime. */
function workersOf(virtualWorkers: number, length: number): Float32Array<ArrayBuffer>[] {
  return Array.from({ length: virtualWorkers }, (_, worker) => {
    const pattern = hardVector(Math.min(length, 4099), worker);
    return Float32Array.from({ length }, (_, i) => pattern[i % 4099]);
  });
}

/** The pieces that member `index` of `members` would have computed. */
function piecesOf(workers: readonly Float32Array[], index: number, members: number): Float32Array[] {
  return subtreesOf(workers.length, shareOut(workers.length, members)[index])
    .map(({ from, to }) => counterTreeSum(workers.slice(from, to)));
}

async function openFilled(
  network: Network,
  index: number,
  members: number,
  workers: readonly Float32Array[],
  { step = 0, bucket: number = 0 } = {},
): Promise<Bucket> {
  const bucket = await network.node(index).open(step, number, workers[0].length);
  const pieces = piecesOf(workers, index, members);
  assertEquals(bucket.pieces.length, pieces.length);
  pieces.forEach((piece, i) => bucket.pieces[i].set(piece));
  return bucket;
}

/** Sums on all members; returns what each got. */
function reduceAll(
  network: Network,
  members: number,
  workers: readonly Float32Array[],
  place: { step?: number; bucket?: number } = {},
): Promise<(Reduced & { sum: Float32Array })[]> {
  return Promise.all(Array.from({ length: members }, async (_, index) => {
    const bucket = await openFilled(network, index, members, workers, place);
    const reduced = await bucket.reduce();
    const sum = bucket.sum.slice();
    bucket.release();
    return { ...reduced, sum };
  }));
}

async function assertExact(network: Network, members: number, workers: readonly Float32Array[], step = 0) {
  const results = await reduceAll(network, members, workers, { step });
  const expected = counterTreeSum(workers);
  results.forEach(({ sum, digest, nonFinite }, index) => {
    const where = `member ${index} of ${members}, ${workers.length} workers, ${expected.length} elements`;
    assert(sameBits(sum, expected), where);
    assertEquals(digest, results[0].digest, where);
    assertEquals(nonFinite, null, where);
  });
  assertEquals(network.faults, []);
  return results[0].digest;
}

for (const virtualWorkers of [8, 64]) {
  Deno.test(`reduce() gives the bits of a single node, ${virtualWorkers} virtual workers`, async () => {
    const options = { virtualWorkers, bucketElements: 12007, partElements: 704 };
    using network = new Network(8, options, virtualWorkers);
    let epoch = 0;
    for (const members of [1, 2, 3, 4, 5, 8]) {
      network.inOrder = epoch % 2 === 0;
      await network.begin(++epoch, members);
      let step = 0;
      for (const length of [0, 1, 3, 65, 4096, 4097, 12007]) {
        await assertExact(network, members, workersOf(virtualWorkers, length), step++);
      }
    }
  });
}

Deno.test("reduce() sums a million elements, the same digest for 1, 3 and 8 members", async () => {
  using network = new Network(8, { virtualWorkers: 8, bucketElements: 1e6, maxOpen: 1 });
  const workers = workersOf(8, 1e6);
  const digests: string[] = [];
  for (const [epoch, members] of [1, 3, 8].entries()) {
    await network.begin(epoch, members);
    digests.push(await assertExact(network, members, workers));
  }
  assertEquals(new Set(digests).size, 1);
});

Deno.test("open() lets buckets run together, and frames come before their bucket is opened", async () => {
  using network = new Network(3, { virtualWorkers: 8, bucketElements: 5000, partElements: 512, maxOpen: 2 });
  network.inOrder = false;
  await network.begin(1, 3);
  const all = Array.from({ length: 6 }, (_, bucket) => workersOf(8, 5000 - bucket));
  await Promise.all([0, 1, 2].map(async (index) => {
    await new Promise((resolve) => setTimeout(resolve, 30 * index));
    const sums = all.map(async (workers, number) => {
      const bucket = await openFilled(network, index, 3, workers, { bucket: number });
      await bucket.reduce();
      assert(sameBits(bucket.sum, counterTreeSum(workers)));
      bucket.release();
    });
    await Promise.all(sums);
  }));
  assertEquals(network.faults, []);
});

Deno.test("reduceArrays() sums arrays of several buckets, also into one of them", async () => {
  const bucketElements = 1000;
  using network = new Network(3, { virtualWorkers: 6, bucketElements, maxOpen: 2 });
  await network.begin(1, 3);
  const workers = workersOf(6, 3456);
  const results = await Promise.all([0, 1, 2].map(async (index) => {
    const pieces = piecesOf(workers, index, 3);
    const reduced = await reduceArrays(network.node(index), 1, bucketElements, pieces, pieces[0]);
    assert(sameBits(pieces[0], counterTreeSum(workers)));
    return reduced.map(({ digest }) => digest).join();
  }));
  assertEquals(results, Array(3).fill(results[0]));
  assertEquals(results[0].split(",").length, 4);
});

for (const wire of ["f32", "bf16"] as const) {
  Deno.test(`final() sends what is final while the rest is still made, ${wire}`, async () => {
    const bucketElements = 9001;
    using network = new Network(3, {
      ...{ virtualWorkers: 4, bucketElements, partElements: 704, pieceType: wire, sumType: wire },
    });
    await network.begin(1, 3);
    const workers = workersOf(4, bucketElements);
    const expected = await reduceAll(network, 3, workers, { step: 0 });
    // Each member in an order of its own, in stretches that no part ends with; what is not final yet is something else.
    const sums = [0, 1, 2].map(async (index) => {
      const bucket = await network.node(index).open(1, 0, bucketElements);
      const pieces = piecesOf(workers, index, 3);
      bucket.pieces.forEach((piece) => piece.fill(index + 0.25));
      const stretches = Array.from({ length: 13 }, (_, i) => (i * (index + 2)) % 13).map((i) => [
        Math.floor(i * bucketElements / 13),
        Math.floor((i + 1) * bucketElements / 13),
      ]);
      for (const [from, to] of stretches.slice(index)) { // what is left is final with reduce()
        pieces.forEach((piece, i) => bucket.pieces[i].set(piece.subarray(from, to), from));
        bucket.final(from, to);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      for (const [from, to] of stretches.slice(0, index)) {
        pieces.forEach((piece, i) => bucket.pieces[i].set(piece.subarray(from, to), from));
      }
      const { digest } = await bucket.reduce();
      assertEquals(digest, expected[index].digest);
      assert(sameBits(bucket.sum, expected[index].sum));
      bucket.release();
    });
    await Promise.all(sums);
    assertEquals(network.faults, []);
  });
}

Deno.test("final() has parts summed before the rest is final, and refuses an element that was", async () => {
  using network = new Network(2, { virtualWorkers: 2, bucketElements: 9001, partElements: 704 });
  await network.begin(1, 2);
  const buckets = await Promise.all([0, 1].map((index) => network.node(index).open(1, 0, 9001)));
  buckets.forEach(({ pieces: [piece] }, index) => piece.fill(index + 1));
  for (const bucket of buckets) bucket.final(4000, 8000);
  while (buckets.some(({ sum }) => sum.subarray(4592, 7872).some((value) => value !== 3))) { // whole parts
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assertEquals([...buckets[0].sum.subarray(0, 3936)], Array(3936).fill(1));
  assertThrows(() => buckets[0].final(7000, 7001), Error, "final twice");
  await Promise.all(buckets.map((bucket) => bucket.reduce()));
  for (const { sum } of buckets) assert(sum.every((value) => value === 3));
});

Deno.test("a gather in bfloat16 gives everybody, the owner too, the same bits for any number of members", async () => {
  using network = new Network(5, {
    virtualWorkers: 8,
    bucketElements: 5000,
    partElements: 336,
    sumType: "bf16",
  });
  const workers = workersOf(8, 4999);
  const exact = counterTreeSum(workers);
  const digests = new Set<string>();
  for (const members of [1, 2, 5]) {
    await network.begin(members, members);
    const results = await reduceAll(network, members, workers);
    for (const { sum, digest } of results) {
      digests.add(digest);
      assert(new Uint32Array(sum.buffer).every((word) => (word & 0xffff) === 0));
      assert(
        sum.every((x, i) =>
          Math.abs(x - exact[i]) <= 2 ** -8 * Math.abs(exact[i]) || Math.abs(x) < 2 ** -126
        ),
      );
    }
  }
  assertEquals(digests.size, 1);
});

Deno.test("pieces in bfloat16 are rounded for everybody, and their sum is exact", async () => {
  const members = 3;
  using network = new Network(members, {
    virtualWorkers: 8,
    bucketElements: 5000,
    partElements: 336,
    pieceType: "bf16",
  });
  await network.begin(1, members);
  for (const [step, length] of [100, 4999].entries()) {
    const workers = workersOf(8, length);
    const rounded = [0, 1, 2].flatMap((index) => piecesOf(workers, index, members));
    rounded.forEach(roundToBf16);
    const { additions, root } = planSum(8, shareOut(8, members));
    const values = [...rounded];
    for (const { target, left, right } of additions) {
      values[target] = values[left].map((x, i) => x + values[right][i]);
    }
    for (const { sum, digest } of await reduceAll(network, members, workers, { step })) {
      assert(sameBits(sum, values[root]), `${length} elements`);
      assertEquals(digest.length, 16);
    }
  }
  assertEquals(network.faults, []);
});

const EXACT = 4;

for (const pieceType of ["f32", "bf16"] as const) {
  Deno.test(`sums in bfloat16, pieces in ${pieceType}: all buckets are rounded, but for the exact values at their ends`, async () => {
    const options = { virtualWorkers: 8, bucketElements: 20_000, exactValues: EXACT, partElements: 704 };
    using network = new Network(5, { ...options, pieceType, sumType: "bf16" }, 3);
    let epoch = 0;
    for (const members of [1, 2, 3, 5]) {
      network.inOrder = epoch % 2 === 1;
      await network.begin(++epoch, members);
      let step = 0;
      // small ones, one part and several of every member, the exact part first or last among those of its owner
      for (const rounded of [16, 96, 4080, 4096, 7040, 7744, 19_984]) {
        const length = rounded + EXACT;
        const workers = workersOf(8, length);
        const exact = counterTreeSum(workers);
        const sums = await Promise.all(Array.from({ length: members }, async (_, index) => {
          const bucket = await network.node(index).open(step, 0, length, EXACT);
          piecesOf(workers, index, members).forEach((piece, i) => bucket.pieces[i].set(piece));
          const { digest } = await bucket.reduce();
          const sum = bucket.sum.slice();
          bucket.release();
          return { sum, digest };
        }));
        const where = `${length} elements, ${members} members`;
        const [{ sum: first, digest }] = sums;
        for (const other of sums) assert(sameBits(other.sum, first) && other.digest === digest, where);
        assert(sameBits(first.slice(rounded), exact.slice(rounded)), where);
        const words = new Uint32Array(first.buffer, 0, rounded);
        assert(words.every((word) => (word & 0xffff) === 0), where);
        if (pieceType === "f32") {
          const expected = exact.slice(0, rounded);
          roundToBf16(expected);
          assert(sameBits(first.slice(0, rounded), expected), where);
        }
        step++;
      }
    }
    assertEquals(network.faults, []);
  });
}

Deno.test("open() refuses exact values that are too many, or begin where vectors are cut", async () => {
  using network = new Network(1, { virtualWorkers: 1, bucketElements: 100, exactValues: EXACT });
  await network.begin(1, 1);
  const open = (length: number, exact: number) => network.node(0).open(0, 0, length, exact);
  await assertRejects(() => open(99 + EXACT, EXACT), Error, "Exact values begin at element 99");
  await assertRejects(() => open(21, 5), Error, "5 of them exact, expected at most 100 and 4");
  await assertRejects(() => open(101 + EXACT, EXACT), Error, "expected at most 100 and 4");
});

Deno.test("abort() at any moment leaves nothing behind: the next epoch sums, and late frames are dropped", async () => {
  using network = new Network(4, { virtualWorkers: 8, bucketElements: 9001, partElements: 704 });
  const workers = workersOf(8, 9001);
  let epoch = 0;
  for (const moment of [0, 1, 5, 20, 41, 60, 80, 90]) {
    await network.begin(++epoch, 4, epoch);
    let deliveries = 0;
    network.onDelivery = () => {
      if (deliveries++ !== moment) return;
      for (const node of network.nodes.values()) node.abort("Member n3 is silent");
    };
    const attempts = [0, 1, 2, 3].map(async (index) => {
      const bucket = await openFilled(network, index, 4, workers, { step: epoch });
      await bucket.reduce();
    });
    const ends = await Promise.allSettled(attempts);
    const errors = ends.flatMap((end) => end.status === "rejected" ? [end.reason.message] : []);
    assert(errors.length > 0, `moment ${moment}`);
    assertEquals(new Set(errors), new Set(["Member n3 is silent"]));
    await assertRejects(() => network.node(0).open(epoch, 1, 5), ExchangeError, "n3 is silent");
    network.onDelivery = () => {};
    await network.begin(++epoch, 3, epoch);
    await assertExact(network, 3, workers, epoch);
  }
});

Deno.test("lost() names the member, between sums too", async () => {
  using network = new Network(2, { virtualWorkers: 2, bucketElements: 8 });
  await network.begin(1, 2);
  network.node(0).lost("n7", "it was never here");
  await assertExact(network, 2, workersOf(2, 8), 0);
  network.node(0).lost("n1", "peer was lost");
  const error = await assertRejects(() => network.node(0).open(1, 0, 8), ExchangeError);
  assertEquals([error.message, error.peer], ["Member n1 is lost: peer was lost", "n1"]);

  await network.begin(2, 2);
  const bucket = await openFilled(network, 0, 2, workersOf(2, 8));
  network.node(0).lost("n1", "again");
  assertEquals((await assertRejects(() => bucket.reduce(), ExchangeError)).peer, "n1");
});

const wrongFrames: Record<
  string,
  { change: (frame: Frame) => Partial<Frame>; says: string; length?: number }
> = {
  "a step that is over": { change: () => ({ step: 4 }), says: "bucket 0 of step 4, while" },
  "a step far ahead": { change: () => ({ step: 99 }), says: "bucket 0 of step 99, while" },
  "somebody else's piece": { change: () => ({ piece: 0 }), says: "piece 0 is not the sender's" },
  "no piece at all": { change: () => ({ piece: 1e9 }), says: "is not the sender's" },
  "an offset off the grid": {
    change: ({ offset }) => ({ offset: offset + 4 }),
    says: "where none of its parts begins",
  },
  "an offset in another's part": {
    change: () => ({ offset: 4 * 656 }),
    says: "from element 656, where none of its parts begins",
  },
  "a short payload": {
    change: ({ payload }) => ({ payload: payload.subarray(4) }),
    says: "has 655 elements, expected 656",
  },
  "another wire type": { change: () => ({ wireType: "bf16" }), says: "partial 1 in bf16, expected f32" },
  "another type": { change: () => ({ type: "state" }), says: "state among partials and sums" },
  "a damaged payload": { change: ({ checksum }) => ({ checksum: checksum ^ 1 }), says: "wrong checksum" },
  "a sum that everybody computes": {
    change: () => ({ type: "sum" }),
    says: "sum of a bucket that everybody sums",
    length: 5,
  },
};

Deno.test("receive() refuses wrong frames and names their sender; the next epoch sums", async (test) => {
  using network = new Network(2, { virtualWorkers: 2, bucketElements: 9001, partElements: 704 });
  let epoch = 0;
  for (const [name, { change, says, length = 9001 }] of Object.entries(wrongFrames)) {
    await test.step(name, async () => {
      const workers = workersOf(2, length);
      let isNext = true;
      network.tamper = (from, _to, frame) => {
        if (from !== "n1" || !isNext) return [frame];
        isNext = false;
        return [{ ...frame, ...change(frame) }];
      };
      await network.begin(++epoch, 2, 5);
      const [receiver, sender] = await Promise.allSettled([0, 1].map(async (index) => {
        const bucket = await openFilled(network, index, 2, workers, { step: 5 });
        return bucket.reduce();
      }));
      assert(receiver.status === "rejected" && receiver.reason instanceof ExchangeError);
      const { message, peer } = receiver.reason;
      assert(message.startsWith("Member n1 sent a wrong frame: ") && message.includes(says), message);
      assertEquals(peer, "n1");
      assert(sender.status === "rejected" && sender.reason.peer === "n0");
      assertEquals(network.faults.splice(0).length, 1);
      network.tamper = (_from, _to, frame) => [frame];
      await network.begin(++epoch, 2, 5);
      await assertExact(network, 2, workers, 5);
    });
  }
});

Deno.test("receive() refuses a frame that comes twice, and one of a stranger", async () => {
  using network = new Network(3, { virtualWorkers: 2, bucketElements: 100 });
  const workers = workersOf(2, 100);
  network.tamper = (from, _to, frame) => from === "n1" ? [frame, frame] : [frame];
  await network.begin(1, 2);
  await Promise.allSettled([reduceAll(network, 2, workers)]);
  await new Promise((resolve) => setTimeout(resolve, 20)); // the sum may be there before the second frame
  assertEquals(network.faults.length, 1);
  assert(/came twice|while bucket 0 of step 0/.test(network.faults[0]), network.faults[0]);

  await network.begin(2, 2);
  const bucket = await openFilled(network, 0, 2, workers);
  const stranger: Frame = {
    ...{ type: "partial", wireType: "f32", bucket: 0, epoch: 2, step: 0, piece: 1, offset: 0 },
    payload: new Uint8Array(400),
    checksum: 0,
  };
  try {
    network.node(0).receive("n2", stranger);
  } catch (error) {
    assert(error instanceof ExchangeError && error.peer === "n2");
  }
  assertEquals((await assertRejects(() => bucket.reduce(), ExchangeError)).peer, "n2");
});

Deno.test("receive() drops frames of epochs that are over and keeps those of epochs to come", async () => {
  using network = new Network(2, { virtualWorkers: 2, bucketElements: 100 });
  const workers = workersOf(2, 100);
  const frames: Frame[] = [];
  network.tamper = (from, _to, frame) => {
    if (from === "n1") frames.push(frame);
    return [frame];
  };
  await network.begin(7, 2);
  await assertExact(network, 2, workers);
  const node = network.node(0);
  const kept = node.receive("n1", { ...frames[0], epoch: 9 });
  assert(kept instanceof Promise);
  await network.begin(8, 2);
  assertEquals(node.receive("n1", frames[0]), undefined);
  await node.begin({ epoch: 9, step: 0, members: ["n0", "n1"] });
  const bucket = await openFilled(network, 0, 2, workers);
  await kept;
  await bucket.reduce();
  assert(sameBits(bucket.sum, counterTreeSum(workers)));
});

Deno.test("reduce() names the member whose piece is not finite, and nobody if only the sum overflows", async () => {
  using network = new Network(3, { virtualWorkers: 8, bucketElements: 6000, partElements: 512 });
  await network.begin(1, 3);
  let step = 0;
  for (const [length, element] of [[6000, 3333], [10, 9]]) {
    const workers = workersOf(8, length);
    workers[6][element] = NaN;
    workers[1][element] = Infinity;
    const first = await reduceAll(network, 3, workers, { step: step++ });
    const found = first.flatMap(({ nonFinite }) => nonFinite === null ? [] : [nonFinite]);
    // Only its owner sees into a slice; a small bucket is everybody's.
    assertEquals(found, Array(length === 10 ? 3 : 1).fill({ element, member: "n0" }));
    assertEquals(new Set(first.map(({ digest }) => digest)).size, 1);

    workers[1][element] = 0;
    const second = await reduceAll(network, 3, workers, { step: step++ });
    assertEquals(second.find(({ nonFinite }) => nonFinite)?.nonFinite, { element, member: "n2" });

    workers[6][element] = workers[0][element] = 3e38;
    const third = await reduceAll(network, 3, workers, { step: step++ });
    assertEquals(third.find(({ nonFinite }) => nonFinite)?.nonFinite, { element, member: null });
  }
});

Deno.test("open() and begin() refuse what a caller does wrong", async () => {
  using network = new Network(2, { virtualWorkers: 2, bucketElements: 10 });
  const node = network.node(0);
  await assertRejects(() => node.open(0, 0, 1), ExchangeError, "No epoch has begun");
  await network.begin(3, 2);
  await assertRejects(
    () => node.begin({ epoch: 3, step: 0, members: ["n0"] }),
    Error,
    "does not come after 3",
  );
  await assertRejects(() => node.begin({ epoch: 4, step: 0, members: ["n1"] }), Error, "n0 is not a member");
  await assertRejects(() => node.open(0, 0, 11), Error, "expected at most 10");
  const bucket = await node.open(0, 1, 1);
  await assertRejects(() => node.open(0, 0, 1), Error, "Bucket 0 of step 0 is out of order");
  await assertRejects(() => Promise.try(() => bucket.release()), Error, "before it is reduced");
  assertEquals(idOf(0), "n0");
});
