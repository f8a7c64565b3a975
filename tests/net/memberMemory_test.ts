import { assert, assertEquals } from "@std/assert";
import { memberMemory } from "../../src/net/memberMemory.ts";
import { shareOut } from "../../src/net/shares.ts";
import { planSum } from "../../src/net/tree.ts";
import { queueBytes } from "../../src/net/sumQueue.ts";
import { FakeReplica } from "./fakeReplica.ts";
import { finish, Group } from "./group.ts";
import { groupIdentity } from "./groupIdentity.ts";

const { virtualWorkers } = groupIdentity;
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

for (const bucketElements of [50_003, 20_000]) {
  Deno.test(`memberMemory() is what members allocate: buckets of ${bucketElements} of 50003`, async () => {
    for (const members of [1, 2, 3, 5]) {
      const { memories, arrays } = await allocations(async () => {
        await using group = await Group.start(members, 5000);
        const replicas = Array.from(
          { length: members },
          () => new FakeReplica({ sumLength: 50_003, totalSteps: 2 }),
        );
        await finish(...replicas.map((replica, i) => group.join(`m${i}`, { replica, bucketElements })));
      });
      const planned = memberMemory(50_003, virtualWorkers, members, { bucketElements });
      const queue = queueBytes(virtualWorkers);
      const [queues, sums] = [
        arrays.filter((bytes) => bytes === queue),
        arrays.filter((bytes) => bytes !== queue),
      ];
      assertEquals(queues.length, members);
      // each member has a small memory before its first epoch, which is dropped then
      const largest = Math.max(...memories);
      const perPiece = 4 * 50_003;
      const pieces = (planned.sums - queue - largest) / perPiece;
      assertEquals(memories.length, 2 * members);
      if (bucketElements === 50_003) {
        assertEquals([planned.sums, sums], [largest + queue, []], `${members} members`);
      } else {
        assert(Number.isInteger(pieces) && pieces >= 1, `${members} members: ${planned.sums}, ${memories}`);
        assertEquals(new Set(sums), new Set([perPiece]));
        assertEquals(sums.length, planSum(virtualWorkers, shareOut(virtualWorkers, members)).pieces.length);
      }
    }
  });
}

Deno.test("memberMemory() grows with the partial sums of a share, at most lg(share) + 1 beside the sum", () => {
  const gradient = 4 * (1 << 20);
  const sums = (virtualWorkers: number, members: number) =>
    memberMemory(1 << 20, virtualWorkers, members).sums / gradient;
  for (const members of [1, 2, 4, 8]) assert(sums(8, members) < 5, `${members}`);
  for (const workers of [3, 5, 7, 100]) {
    for (const members of [2, 3]) {
      const share = Math.ceil(workers / members);
      // an unaligned share has up to two subtrees of each size; beside them lies the sum, and slices of others' pieces
      const most = 2 * (Math.floor(Math.log2(share)) + 1) + 1;
      assert(sums(workers, members) < 2 * most + 2, `${workers} workers, ${members} members`);
    }
  }
  assertEquals(memberMemory(1000, 4, 9), memberMemory(1000, 4, 4));
  assertEquals(memberMemory(1000, 4, 1).links, 0);
});
