import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Reducer, startReducer } from "../../src/net/sum/reducer.ts";
import { planSum } from "../../src/net/sum/tree.ts";
import { hardVector, sameBits } from "./support.ts";

/** More elements than are added on the caller's thread. */
const COUNT = 1 << 15;
const BYTES = 4 * COUNT;

const planOf = (members: number) =>
  planSum(members, Array.from({ length: members }, (_, i) => ({ from: i, to: i + 1 })));

/** Puts a vector into each piece; the sum goes behind them. */
function fill(
  { memory, arena }: Reducer,
  pieces: number,
): { job: { pieces: number[]; out: number }; sum: Float32Array } {
  const vectors = Array.from({ length: pieces }, (_, i) => hardVector(COUNT, i));
  vectors.forEach((vector, i) => new Float32Array(memory.buffer, arena + i * BYTES, COUNT).set(vector));
  const at = (i: number) => arena + i * BYTES;
  const sum = vectors.reduce((sum, vector) => sum.map((x, i) => x + vector[i]));
  return { job: { pieces: vectors.map((_, i) => at(i)), out: at(pieces) }, sum };
}

Deno.test("sum() takes more jobs than its queue holds, here and there, and answers each with its own", async () => {
  const reducer = startReducer(3);
  for (const members of [2, 3, 2]) {
    reducer.prepare(planOf(members), (members + 1) * BYTES);
    const { job, sum } = fill(reducer, members);
    const counts = Array.from({ length: 150 }, (_, i) => COUNT - 100 * i);
    const all = await Promise.all(counts.map((count) => reducer.sum({ ...job, count })));
    all.forEach(({ lanes, nonFinite }, i) => {
      assertEquals(nonFinite, null);
      assertEquals(lanes, reducer.here.hash(job.out, 4 * counts[i]), `${counts[i]} elements`);
    });
    assert(sameBits(new Float32Array(reducer.memory.buffer, job.out, COUNT).slice(), sum));
    const [own] = job.pieces; // in the place of a piece, here and there
    for (const count of [COUNT, 1000]) {
      fill(reducer, members);
      await reducer.sum({ ...job, out: own, count });
      const added = new Float32Array(reducer.memory.buffer, own, count).slice();
      assert(sameBits(added, sum.slice(0, count)), `${members} members, ${count} elements`);
    }
  }
  reducer.close();
});

Deno.test("close() rejects the jobs that are under way", async () => {
  const reducer = startReducer(2);
  reducer.prepare(planOf(2), 3 * BYTES);
  const { job } = fill(reducer, 2);
  const jobs = Array.from({ length: 100 }, () => reducer.sum({ ...job, count: COUNT }));
  reducer.close();
  const over = await Promise.allSettled(jobs.map(async (summing) => await summing));
  // The first may have been answered while others were posted; the last one cannot.
  assertEquals(over.at(-1)?.status, "rejected");
  for (const end of over) {
    if (end.status === "rejected") assertStringIncludes(String(end.reason), "was closed");
  }
});
