import { assert, assertEquals } from "@std/assert";
import { memberMemory } from "../../src/net/member/memberMemory.ts";
import { shareOut } from "../../src/net/sum/shares.ts";
import { queueBytes } from "../../src/net/sum/sumQueue.ts";
import { planSum } from "../../src/net/sum/tree.ts";
import type { WireTypes } from "../../src/net/sum/wireTypes.ts";
import { FakeReplica } from "./fakeReplica.ts";
import { finish, Group } from "./group.ts";
import { groupIdentity } from "./groupIdentity.ts";

const PAGE = 65536;

/** Bytes of each shared memory and array that is made while `work` runs. */
async function allocations(work: () => Promise<void>): Promise<{ memories: number[]; arrays: number[] }> {
  const [memories, arrays]: number[][] = [[], []];
  const { Memory } = WebAssembly;
  const { SharedArrayBuffer: Shared } = globalThis;
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      memories.push(PAGE * descriptor.initial);
    }
  };
  globalThis.SharedArrayBuffer = class extends Shared {
    constructor(bytes: number) {
      super(bytes);
      arrays.push(bytes);
    }
  } as SharedArrayBufferConstructor;
  try {
    await work();
  } finally {
    WebAssembly.Memory = Memory;
    globalThis.SharedArrayBuffer = Shared;
  }
  return { memories, arrays };
}

const EXACT = 4;
const LENGTH = 50_000 + EXACT;

const WIRES: Readonly<Record<string, WireTypes>> = {
  f32: {},
  bf16Gather: { sumType: "bf16" },
  bf16: { pieceType: "bf16", sumType: "bf16" },
};

for (const [name, wire] of Object.entries(WIRES)) {
  Deno.test(`memberMemory() is what members allocate, to the byte: ${name}`, async () => {
    // even shares and odd ones, whole sums and cut ones
    const whole = [[8, 1], [8, 2], [5, 2], [7, 3], [6, 5]].map((group) => [...group, LENGTH]);
    for (const [virtualWorkers, members, bucketElements] of [...whole, [7, 3, 20_000], [4, 4, 20_000]]) {
      const identity = { ...groupIdentity, virtualWorkers };
      const travel = { bucketElements, wire, exactValues: EXACT };
      const { memories, arrays } = await allocations(async () => {
        await using group = await Group.start(members, 5000);
        const replicas = Array.from(
          { length: members },
          () => new FakeReplica({ sumLength: LENGTH, totalSteps: 2 }),
        );
        const nodes = replicas.map((replica, i) => group.join(`m${i}`, { replica, identity, ...travel }));
        await finish(...nodes);
      });
      const where = `${virtualWorkers} virtual workers, ${members} members, buckets of ${bucketElements}`;
      const pieces = planSum(virtualWorkers, shareOut(virtualWorkers, members)).pieces;
      const most = Math.max(
        ...pieces.map(({ member }) => pieces.filter((piece) => piece.member === member).length),
      );
      const isCut = bucketElements < LENGTH;
      const queue = queueBytes(virtualWorkers);
      const piece = 4 * LENGTH;
      // each member has a small memory before its first epoch, which is dropped then
      assertEquals(memories.length, 2 * members, where);
      assertEquals(arrays.toSorted((a, b) => a - b), [
        ...Array(members).fill(queue),
        ...Array(isCut ? pieces.length : 0).fill(piece),
      ], where);
      const { sums } = memberMemory(LENGTH, virtualWorkers, members, travel);
      assertEquals(sums, Math.max(...memories) + queue + (isCut ? most * piece : 0), where);
    }
  });
}

/**
 * In sums: the member's own pieces and its parts of the others', and what is rounded, where it leaves from. Up to 50
 * virtual workers a share is lg(share) + 1 pieces at most, see shares_test.ts.
 */
function formula(virtualWorkers: number, members: number, { pieceType, sumType }: WireTypes): number {
  const { pieces } = planSum(virtualWorkers, shareOut(virtualWorkers, members));
  return Math.max(...pieces.map(({ member }) => {
    const own = pieces.filter((piece) => piece.member === member).length;
    const packed = (pieceType === "bf16" ? own / 2 : 0) + (sumType === "bf16" ? 1 / (2 * members) : 0);
    return own + (pieces.length - own) / members + packed;
  }));
}

/** Scratch memory of two threads, and parts of whole vectors in whole pages: about as much for sums of any length. */
const MARGIN = 1 << 19;

Deno.test("memberMemory() is the partial sums of a share, lg(share) + 1 at most, and parts of the others'", () => {
  const length = (1 << 22) + EXACT;
  for (const [name, wire] of Object.entries(WIRES)) {
    for (const virtualWorkers of [1, 2, 3, 5, 7, 8, 13, 50]) {
      for (let members = 1; members <= Math.min(virtualWorkers, 8); members++) {
        const { sums } = memberMemory(length, virtualWorkers, members, { wire, exactValues: EXACT });
        const expected = formula(virtualWorkers, members, wire);
        const more = sums - 4 * length * expected;
        const where = `${name}, ${virtualWorkers} virtual workers, ${members} members: ${more} bytes more`;
        assert(more >= 0 && more < MARGIN, where);
      }
    }
  }
  assertEquals(memberMemory(1000, 4, 9), memberMemory(1000, 4, 4));
  assertEquals(memberMemory(1000, 4, 1).links, 0);
});
