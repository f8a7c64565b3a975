/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** The thread that adds: the Worker's side of `reducer.ts`. It waits for jobs, and for messages when it is told to. */
import type { Preparation } from "./reducer.ts";
import { SumQueue } from "./sumQueue.ts";
import { createTreeSum } from "./treeSum.ts";

declare const self: DedicatedWorkerGlobalScope;

let queue: SumQueue | null = null;

self.onmessage = ({ data }: MessageEvent<Preparation>) => {
  const { memory, scratch, plan, maxPieces } = data;
  const jobs = queue ??= new SumQueue(maxPieces, data.queue);
  const { sum } = createTreeSum(memory, scratch);
  for (let job = jobs.takeJob(plan.pieces.length); job !== null; job = jobs.takeJob(plan.pieces.length)) {
    jobs.answer(sum(plan, job));
  }
};
