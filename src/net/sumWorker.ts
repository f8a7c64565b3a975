/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The thread that adds: the Worker's side of `reducer.ts`.
 *
 * What a host copies for each byte of an allreduce (the WebSocket's own copies inside the runtime not counted):
 * 1. the sender's shared memory -> the frame (WebSocket.send takes no shared memory),
 * 2. the frame that arrives -> the receiver's shared memory, where it is added or, if it is a sum, belongs.
 * Before that the caller writes his gradients into shared memory, which is the copy out of the GPU's mapped buffer;
 * afterwards he reads the sums from there. So a byte is copied twice on its way between two nodes, three times with
 * the copy out of the GPU. Additions read the pieces in place and write the sum where it is sent from.
 */
import type { Answer, Job, Request } from "./reducer.ts";
import type { SumPlan } from "./tree.ts";
import { createTreeSum, type TreeSum } from "./treeSum.ts";

declare const self: DedicatedWorkerGlobalScope;

let treeSum: TreeSum | null = null;
let plan: SumPlan | null = null;

function answer(job: Job): Answer {
  if (treeSum === null || plan === null) throw new Error("A job came before the memory and the plan");
  if ("sum" in job) return { nonFinite: treeSum.sum(plan, job.sum) };
  return { digest: treeSum.digest(job.digest.at, job.digest.bytes) };
}

self.onmessage = ({ data: request }: MessageEvent<Request>) => {
  if ("memory" in request) treeSum = createTreeSum(request.memory, request.scratch);
  else if ("plan" in request) plan = request.plan;
  else self.postMessage(request.jobs.map(answer));
};
