/** The shared memory of an allreduce and the thread that adds in it; `sumWorker.ts` is the other side. */
import type { SumPlan } from "./tree.ts";
import { createTreeSum, type NonFinite, scratchBytes, type SumJob, type TreeSum } from "./treeSum.ts";

export type Job = { readonly sum: SumJob } | {
  readonly digest: { readonly at: number; readonly bytes: number };
};
export type Answer = { readonly nonFinite: NonFinite | null } | { readonly digest: string };

/** A batch of jobs is answered by as many answers, in order. */
export type Request =
  | { readonly memory: WebAssembly.Memory; readonly scratch: number }
  | { readonly plan: SumPlan }
  | { readonly jobs: readonly Job[] };

export interface Reducer {
  /** Another one after each `prepare` that needs more of it. */
  readonly memory: WebAssembly.Memory;
  /** Where the memory that the caller may use begins. */
  readonly arena: number;
  /** What the caller's thread adds with. */
  readonly here: TreeSum;
  /** Says how jobs from now on add, with `bytes` from the arena on for them. No job is under way. */
  prepare(plan: SumPlan, bytes: number): void;
  sum(job: SumJob): Promise<NonFinite | null>;
  digest(at: number, bytes: number): Promise<string>;
  /** Ends the thread; jobs under way are rejected. */
  close(): void;
}

interface Waiting extends PromiseWithResolvers<Answer> {
  readonly job: Job;
}

/** A job that reads less than this is done on the caller's thread, sooner than the other one would hear of it. */
const HERE_BYTES = 256 << 10;
const PAGE = 65536;
const MOST_PAGES = 65535; // one less than 4 GiB, so that no address wraps around

/** Bytes of the shared memory whose arena holds `bytes`, in whole pages. */
export function sharedBytes(virtualWorkers: number, bytes: number): number {
  return PAGE * Math.ceil((2 * scratchBytes(virtualWorkers) + bytes) / PAGE);
}

/** @param virtualWorkers of the run: bounds the depth of its trees */
export function startReducer(virtualWorkers: number): Reducer {
  const scratch = scratchBytes(virtualWorkers);
  const arena = 2 * scratch;
  const worker = new Worker(new URL("./sumWorker.ts", import.meta.url), { type: "module", name: "sums" });
  /** Jobs that the worker has, and jobs that come after them: it gets these in one message, when it has answered. */
  let [posted, waiting]: Waiting[][] = [[], []];
  let broken: Error | null = null;

  const post = (request: Request) => worker.postMessage(request);
  const postWaiting = () => {
    if (posted.length > 0 || waiting.length === 0) return;
    [posted, waiting] = [waiting, []];
    post({ jobs: posted.map(({ job }) => job) });
  };
  const ask = (job: Job) => {
    if (broken !== null) return Promise.reject(broken);
    const answer = Promise.withResolvers<Answer>();
    waiting.push({ job, ...answer });
    postWaiting();
    return answer.promise;
  };
  const fail = (error: Error) => {
    broken ??= error;
    for (const { reject } of [...posted.splice(0), ...waiting.splice(0)]) reject(error);
  };
  worker.onmessage = ({ data: answers }: MessageEvent<readonly Answer[]>) => {
    const answered = posted;
    posted = [];
    postWaiting();
    answered.forEach(({ resolve }, i) => resolve(answers[i]));
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(new Error(`The thread that adds has failed: ${event.message}`));
  };

  // Not grown in place: V8 lets other threads see the new length of a shared memory only after a while.
  const allocate = (bytes: number) => {
    const pages = sharedBytes(virtualWorkers, bytes) / PAGE;
    if (pages > MOST_PAGES) throw new Error(`${bytes} bytes don't fit the 4 GiB of a shared memory`);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    post({ memory, scratch });
    return { memory, here: createTreeSum(memory, 0) };
  };
  let { memory, here } = allocate(0);
  let plan: SumPlan | null = null;

  return {
    arena,
    get memory() {
      return memory;
    },
    get here() {
      return here;
    },
    prepare(next, bytes) {
      if (arena + bytes > memory.buffer.byteLength) ({ memory, here } = allocate(bytes));
      plan = next;
      post({ plan });
    },
    async sum(job) {
      if (plan !== null && 4 * job.count * job.pieces.length <= HERE_BYTES) return here.sum(plan, job);
      const answer = await ask({ sum: job });
      return "nonFinite" in answer ? answer.nonFinite : null;
    },
    async digest(at, bytes) {
      if (bytes <= HERE_BYTES) return here.digest(at, bytes);
      const answer = await ask({ digest: { at, bytes } });
      return "digest" in answer ? answer.digest : "";
    },
    close() {
      worker.terminate();
      fail(new Error("The thread that adds was closed"));
    },
  };
}
