/** The shared memory of an allreduce and the thread that adds in it; `sumWorker.ts` is the other side. */
import { SumQueue } from "./sumQueue.ts";
import type { SumPlan } from "./tree.ts";
import { createTreeSum, scratchBytes, type SumJob, type Summed, type TreeSum } from "./treeSum.ts";

/** What the other thread adds with from now on. */
export interface Preparation {
  readonly memory: WebAssembly.Memory;
  readonly scratch: number;
  readonly plan: SumPlan;
  readonly maxPieces: number;
  readonly queue: SharedArrayBuffer;
}

export interface Reducer {
  /** Another one after each `prepare` that needs more of it. */
  readonly memory: WebAssembly.Memory;
  /** Where the memory that the caller may use begins. */
  readonly arena: number;
  /** What the caller's thread adds with. */
  readonly here: TreeSum;
  /** Says how jobs from now on add, with `bytes` from the arena on for them. No job is under way. */
  prepare(plan: SumPlan, bytes: number): void;
  /** Adds: at once what is little, the rest on the other thread. */
  sum(job: SumJob): Summed | Promise<Summed>;
  /** Ends the thread; jobs under way are rejected. */
  close(): void;
}

/** A job that reads less than this is done on the caller's thread, sooner than the other one would hear of it. */
const HERE_BYTES = 128 << 10;
const PAGE = 65536;
const MOST_PAGES = 65535; // one less than 4 GiB, so that no address wraps around

/** Bytes of the shared memory whose arena holds `bytes`, in whole pages. */
export function sharedBytes(virtualWorkers: number, bytes: number): number {
  return PAGE * Math.ceil((2 * scratchBytes(virtualWorkers) + bytes) / PAGE);
}

/** @param virtualWorkers of the run: bounds the depth of its trees, and the pieces of a sum */
export function startReducer(virtualWorkers: number): Reducer {
  const scratch = scratchBytes(virtualWorkers);
  const arena = 2 * scratch;
  const worker = new Worker(new URL("./sumWorker.ts", import.meta.url), { type: "module", name: "sums" });
  const queue = new SumQueue(virtualWorkers);
  /** Jobs in the queue, and those that it has no room for. */
  const posted: PromiseWithResolvers<Summed>[] = [];
  const waiting: { readonly job: SumJob; readonly answer: PromiseWithResolvers<Summed> }[] = [];
  let isWatching = false;
  let broken: Error | null = null;

  const postWaiting = () => {
    while (waiting.length > 0 && !queue.isFull) {
      const { job, answer } = waiting.splice(0, 1)[0];
      queue.post(job);
      posted.push(answer);
    }
  };
  const takeAnswers = () => {
    for (let summed = queue.takeAnswer(); summed !== null; summed = queue.takeAnswer()) {
      posted.shift()?.resolve(summed);
    }
    postWaiting();
  };
  const watch = async () => {
    if (isWatching) return;
    isWatching = true;
    while (posted.length > 0) {
      await queue.answered();
      if (posted.length > 0) takeAnswers(); // else they were rejected
    }
    isWatching = false;
  };
  const fail = (error: Error) => {
    broken ??= error;
    for (const { reject } of [...posted.splice(0), ...waiting.splice(0).map(({ answer }) => answer)]) {
      reject(error);
    }
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
      const { maxPieces, shared } = queue;
      worker.postMessage({ memory, scratch, plan: next, maxPieces, queue: shared } satisfies Preparation);
      if (plan !== null) queue.postListen(); // it waits for jobs, not for messages
      plan = next;
    },
    sum(job) {
      if (plan !== null && 4 * job.count * job.pieces.length <= HERE_BYTES) return here.sum(plan, job);
      if (broken !== null) return Promise.reject(broken);
      const answer = Promise.withResolvers<Summed>();
      waiting.push({ job, answer });
      takeAnswers();
      watch();
      return answer.promise;
    },
    close() {
      queue.end(); // a thread that waits for jobs would not hear of its end
      worker.terminate();
      fail(new Error("The thread that adds was closed"));
    },
  };
}
