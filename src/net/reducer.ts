/** The shared memory of an allreduce and the thread that adds in it; `sumWorker.ts` is the other side. */
import type { SumPlan } from "./tree.ts";
import { createTreeSum, type NonFinite, scratchBytes, type SumJob, type TreeSum } from "./treeSum.ts";

export type Request =
  | { readonly memory: WebAssembly.Memory; readonly scratch: number }
  | { readonly plan: SumPlan }
  | { readonly id: number; readonly job: SumJob }
  | { readonly id: number; readonly at: number; readonly bytes: number };

export type Response =
  | { readonly id: number; readonly nonFinite: NonFinite | null }
  | { readonly id: number; readonly digest: string };

export interface Reducer {
  /** Another one after each `prepare` that needs more of it. */
  readonly memory: WebAssembly.Memory;
  /** Where the memory that the caller may use begins. */
  readonly arena: number;
  /** Adds on the caller's thread: for what is smaller than the way to the other one. */
  readonly here: TreeSum;
  /** Says how jobs from now on add, with `bytes` from the arena on for them. No job is under way. */
  prepare(plan: SumPlan, bytes: number): void;
  sum(job: SumJob): Promise<NonFinite | null>;
  digest(at: number, bytes: number): Promise<string>;
  /** Ends the thread; jobs under way are rejected. */
  close(): void;
}

const PAGE = 65536;
const MOST_PAGES = 65535; // one less than 4 GiB, so that no address wraps around

/** @param virtualWorkers of the run: bounds the depth of its trees */
export function startReducer(virtualWorkers: number): Reducer {
  const scratch = scratchBytes(virtualWorkers);
  const arena = 2 * scratch;
  const worker = new Worker(new URL("./sumWorker.ts", import.meta.url), { type: "module", name: "sums" });
  const waiting = new Map<number, { resolve(response: Response): void; reject(error: Error): void }>();
  let nextId = 0;
  let broken: Error | null = null;

  const fail = (error: Error) => {
    broken ??= error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.onmessage = ({ data: response }: MessageEvent<Response>) => {
    waiting.get(response.id)?.resolve(response);
    waiting.delete(response.id);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    fail(new Error(`The thread that adds has failed: ${event.message}`));
  };
  const post = (request: Request) => worker.postMessage(request);
  const ask = (request: (id: number) => Request) =>
    new Promise<Response>((resolve, reject) => {
      if (broken !== null) return reject(broken);
      const id = nextId++;
      waiting.set(id, { resolve, reject });
      post(request(id));
    });

  // Not grown in place: V8 lets other threads see the new length of a shared memory only after a while.
  const allocate = (bytes: number) => {
    const pages = Math.ceil((arena + bytes) / PAGE);
    if (pages > MOST_PAGES) throw new Error(`${bytes} bytes don't fit the 4 GiB of a shared memory`);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    post({ memory, scratch });
    return { memory, here: createTreeSum(memory, 0) };
  };
  let { memory, here } = allocate(0);

  return {
    arena,
    get memory() {
      return memory;
    },
    get here() {
      return here;
    },
    prepare(plan, bytes) {
      if (arena + bytes > memory.buffer.byteLength) ({ memory, here } = allocate(bytes));
      post({ plan });
    },
    async sum(job) {
      const response = await ask((id) => ({ id, job }));
      return "nonFinite" in response ? response.nonFinite : null;
    },
    async digest(at, bytes) {
      const response = await ask((id) => ({ id, at, bytes }));
      return "digest" in response ? response.digest : "";
    },
    close() {
      worker.terminate();
      fail(new Error("The thread that adds was closed"));
    },
  };
}
