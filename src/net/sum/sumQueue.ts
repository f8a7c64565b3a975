/**
 * Jobs from one thread to another and their answers, in order, in shared memory: a job is heard of in a few
 * microseconds, where a message takes a hundred.
 */
import { LANES } from "../link/laneHash.ts";
import type { SumJob, Summed } from "./treeSum.ts";

/** Jobs that may be posted and not yet taken; a power of two, since counters wrap around. */
const CAPACITY = 64;
/** Words before the entries: how many were posted, how many of these answered, and whether it is over. */
const [POSTED, ANSWERED, OVER, ENTRIES] = [0, 1, 2, 16];
/** Of an entry: count, out and packTo; element, piece and checksum of the answer; its hash; and the job's pieces. */
const [COUNT, ELEMENT, HASH, PIECES] = [0, 3, 6, 6 + LANES];
/** In a job's count: there is a message to be received. */
const LISTEN = -1;
/** For what is not there; addresses are multiples of 4, and elements fewer. */
const NONE = -1;

/** Bytes of a queue for jobs of at most `maxPieces` pieces. */
export function queueBytes(maxPieces: number): number {
  return 4 * (ENTRIES + CAPACITY * (PIECES + maxPieces));
}

export class SumQueue {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #entryWords: number;
  /** Jobs that this side has dealt with: taken the answer of, or answered. */
  #done = 0;

  /** @param maxPieces that a job has @param shared of the queue's other side */
  constructor(readonly maxPieces: number, shared?: SharedArrayBuffer) {
    this.#entryWords = PIECES + maxPieces;
    this.shared = shared ?? new SharedArrayBuffer(queueBytes(maxPieces));
    this.#words = new Int32Array(this.shared);
  }

  get isFull(): boolean {
    return ((Atomics.load(this.#words, POSTED) - this.#done) | 0) >= CAPACITY;
  }

  /** Posts a job to a queue that is not full. */
  post({ pieces, out, count, packTo = NONE }: SumJob): void {
    const at = this.#entry(Atomics.load(this.#words, POSTED));
    this.#words.set([count, out, packTo], at);
    this.#words.set(pieces, at + PIECES);
    this.#ring(POSTED);
  }

  /** Sends the other side to its messages. Nothing else is posted or unanswered. */
  postListen(): void {
    this.#words[this.#entry(Atomics.load(this.#words, POSTED)) + COUNT] = LISTEN;
    this.#next();
    this.#ring(POSTED);
  }

  /** Has the other side return at once from waiting for jobs, for good. */
  end(): void {
    Atomics.store(this.#words, OVER, 1);
    this.#ring(POSTED);
  }

  /** The next answer, if it is there. */
  takeAnswer(): Summed | null {
    if (!this.#isAnswered(Atomics.load(this.#words, ANSWERED))) return null;
    const at = this.#entry(this.#next());
    const [element, piece, checksum] = this.#words.subarray(at + ELEMENT, at + HASH);
    return {
      nonFinite: element === NONE ? null : { element, piece: piece === NONE ? null : piece },
      lanes: new Int32Array(this.#words.subarray(at + HASH, at + PIECES)),
      checksum: checksum >>> 0,
    };
  }

  /** Resolves when there may be an answer. */
  async answered(): Promise<void> {
    const answered = Atomics.load(this.#words, ANSWERED);
    if (this.#isAnswered(answered)) return;
    const wait = Atomics.waitAsync(this.#words, ANSWERED, answered);
    if (wait.async) await wait.value;
  }

  /** The next job, which the calling thread waits for; null: there is a message to be received, or it is over. */
  takeJob(numPieces: number): SumJob | null {
    // In a loop: what wakes this thread may be about a job that it has found by itself.
    while (Atomics.load(this.#words, POSTED) === this.#done) {
      Atomics.wait(this.#words, POSTED, this.#done);
    }
    if (Atomics.load(this.#words, OVER) === 1) return null;
    const at = this.#entry(this.#done);
    const [count, out, packTo] = this.#words.subarray(at, at + ELEMENT);
    if (count === LISTEN) {
      this.#next();
      this.#ring(ANSWERED);
      return null;
    }
    const pieces = Array.from(this.#words.subarray(at + PIECES, at + PIECES + numPieces), (x) => x >>> 0);
    return { pieces, out: out >>> 0, count, ...(packTo !== NONE && { packTo: packTo >>> 0 }) };
  }

  /** Answers the job that was taken last. */
  answer({ nonFinite, lanes, checksum }: Summed): void {
    const at = this.#entry(this.#next());
    this.#words.set([nonFinite?.element ?? NONE, nonFinite?.piece ?? NONE, checksum], at + ELEMENT);
    this.#words.set(lanes, at + HASH);
    this.#ring(ANSWERED);
  }

  /** Is there an answer that was not taken? */
  #isAnswered(answered: number): boolean {
    return ((answered - this.#done) | 0) > 0;
  }

  /** Deals with a job. @returns which one */
  #next(): number {
    const done = this.#done;
    this.#done = (done + 1) | 0;
    return done;
  }

  #entry(index: number): number {
    return ENTRIES + (index & (CAPACITY - 1)) * this.#entryWords;
  }

  #ring(counter: number): void {
    Atomics.add(this.#words, counter, 1);
    Atomics.notify(this.#words, counter);
  }
}
