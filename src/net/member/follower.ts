/** The side of `stateCopy.ts` that takes. */
import { ClosedError, describeClose } from "../link/channel.ts";
import { deferred } from "../link/deferred.ts";
import type { Frame, FrameHeader } from "../link/frame.ts";
import { Link } from "../link/link.ts";
import type { Applied } from "../replica.ts";
import { StreamHash } from "../sum/bulkHash.ts";
import { allocateSum, type SumMemory } from "../sum/sumDigest.ts";
import { type Dialler, dialPeer } from "./dataPlane.ts";
import { MAX_WORD_BYTES, parseAnswer, type Request, sendWord, streamOf } from "./stateCopy.ts";
import type { Peer } from "./types.ts";

/** The donor can't be reached, or no longer, or sent what it may not. */
export class DonorError extends Error {
  override readonly name = "DonorError";
}

export interface FollowerOptions {
  readonly dialler: Dialler;
  readonly sumLength: number;
  readonly bucketElements: number;
  /** See {@linkcode allocateSum}. */
  readonly exactValues?: number;
  /** Claimed towards the donor. */
  readonly epoch: () => number;
  readonly heartbeatMs: () => number;
}

/** A donor's state, on its way. */
export interface StateCopy {
  readonly applied: Applied;
  /** Ends after the last byte; throws a DonorError before, or if they are not those that the donor has sent. */
  readonly chunks: AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** What was asked for and has yet to come. */
interface Transfer {
  /** Bytes of the stream, if it may come now. */
  readonly bytesOf: (header: FrameHeader) => number | undefined;
  readonly take: (frame: Frame) => void | Promise<void>;
  readonly fail: (error: DonorError) => void;
}

/** Without one, words alone are expected, and they end the link. */
const none: Transfer = {
  bytesOf: () => undefined,
  take: () => {
    throw new Error("an answer that nobody asked for");
  },
  fail: () => {},
};

/** A donor's link, and what is under way on it. */
interface Session {
  readonly url: string;
  readonly link: Link;
  transfer: Transfer;
}

/** Follows one donor at a time, and asks it for one thing at a time. The signals' owner calls `stop`, too. */
export class Follower {
  readonly #options: FollowerOptions;
  #session: Session | null = null;
  #memory: SumMemory | null = null;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Resolves when the donor begins to send its state. @throws DonorError */
  async copy(donor: Peer, signal: AbortSignal): Promise<StateCopy> {
    const session = await this.#follow(donor, signal);
    const head = deferred<Applied>();
    const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
    const writer = writable.getWriter();
    let numBytes: number | undefined;
    let received = 0;
    let sentHash = "";
    const takeWord = (frame: Frame) => {
      const answer = parseAnswer(frame);
      if (answer.kind === "state" && numBytes === undefined) {
        numBytes = answer.bytes;
        return head.resolve({ step: answer.step, digest: answer.digest });
      }
      if (answer.kind !== "end" || received !== numBytes) throw new Error("no state where it was asked for");
      sentHash = answer.hash;
      session.transfer = none;
      writer.close().catch(() => {}); // the reader hears of it
    };
    await ask(session, { want: "state" }, {
      bytesOf: (header) => (streamOf(header) === "state" ? numBytes : undefined),
      take: (frame) => {
        if (streamOf(frame) === "word") return takeWord(frame);
        received = next(frame, received);
        return writer.write(frame.payload);
      },
      fail: (error) => {
        head.reject(error);
        writer.abort(error).catch(() => {});
      },
    });
    return { applied: await head.promise, chunks: checked(readable, () => sentHash) };
  }

  /**
   * The sum of a committed step, until the next one is asked for; null: the donor lacks it.
   *
   * @throws DonorError
   */
  async fetchSum(donor: Peer, step: number, signal: AbortSignal): Promise<SumMemory | null> {
    const { sumLength, bucketElements, exactValues } = this.#options;
    const session = await this.#follow(donor, signal);
    const memory = this.#memory ??= allocateSum(sumLength, bucketElements, exactValues);
    const { buffer, byteOffset, byteLength } = memory.sum;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    const fetched = deferred<SumMemory | null>();
    let received = 0;
    const finish = (sum: SumMemory | null) => {
      session.transfer = none;
      fetched.resolve(sum);
    };
    await ask(session, { want: "sum", step }, {
      bytesOf: (header) => (streamOf(header) === "sum" && header.step === step ? byteLength : undefined),
      take: (frame) => {
        if (streamOf(frame) === "word") {
          if (parseAnswer(frame).kind !== "lacks" || received > 0) {
            throw new Error("no sum where it was asked for");
          }
          return finish(null);
        }
        const offset = received;
        received = next(frame, offset);
        bytes.set(frame.payload, offset);
        if (received === byteLength) finish(memory);
      },
      fail: fetched.reject,
    });
    return await fetched.promise;
  }

  /** Ends the link, and with a DonorError what is under way on it. */
  stop(): void {
    this.#session?.link.close();
    this.#session = null;
    this.#memory = null;
  }

  /** The link to a donor: the one that there is, or a new one. */
  async #follow(donor: Peer, signal: AbortSignal): Promise<Session> {
    const { dialler, epoch, heartbeatMs } = this.#options;
    const current = this.#session;
    if (current?.url === donor.url && !current.link.channel.isClosed) return current;
    current?.link.close();
    const channel = await dialPeer(dialler, donor, "follower", epoch(), signal).catch((error) => {
      throw new DonorError(error instanceof Error ? error.message : String(error));
    });
    if (signal.aborted) {
      channel.close();
      throw new DonorError("It is not followed any more");
    }
    const link: Link = new Link(channel, {
      arrayBytes: (header) => streamOf(header) === "word" ? MAX_WORD_BYTES : session.transfer.bytesOf(header),
      onFrame: (frame) => session.transfer.take(frame),
    });
    const session: Session = { url: donor.url, link, transfer: none };
    link.keepAlive(heartbeatMs());
    link.closed.then((reason) => {
      session.transfer.fail(new DonorError(describeClose(reason)));
      session.transfer = none;
    });
    this.#session = session;
    return session;
  }
}

/** The same chunks. @throws DonorError at their end if they are not what was sent @param sentHash known by then */
async function* checked(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  sentHash: () => string,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const hash = new StreamHash();
  for await (const chunk of chunks) {
    hash.add(chunk);
    yield chunk;
  }
  if (hash.digest !== sentHash()) {
    throw new DonorError("The state that has come is not the one that was sent");
  }
}

async function ask(session: Session, request: Request, transfer: Transfer): Promise<void> {
  session.transfer = transfer;
  await sendWord(session.link, request).catch((error) => {
    if (!(error instanceof ClosedError)) throw error;
    throw new DonorError(error.message);
  });
}

/** The bytes that have come, with the frame. @throws Error if it is not the next one */
function next({ offset, payload }: Frame, received: number): number {
  if (offset !== received) throw new Error(`a chunk from byte ${offset}, expected ${received}`);
  return received + payload.length;
}
