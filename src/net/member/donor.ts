/** The side of `stateCopy.ts` that gives. */
import { type Channel, ClosedError } from "../link/channel.ts";
import { FrameLength } from "../link/frameLength.ts";
import { Link } from "../link/link.ts";
import type { Snapshot } from "../replica.ts";
import { StreamHash } from "../sum/bulkHash.ts";
import type { CommittedSums } from "./committedSums.ts";
import { MAX_WORD_BYTES, parseRequest, type Request, sendPart, sendWord, streamOf } from "./stateCopy.ts";

export interface DonorOptions {
  readonly sums: CommittedSums;
  /** null: there is no whole state here now. */
  readonly snapshot: () => Promise<Snapshot | null>;
  readonly heartbeatMs: () => number;
  /** Told of a snapshot that failed. */
  readonly onError: (error: unknown) => void;
}

export class Donor {
  readonly #options: DonorOptions;
  /** One copy at a time: a snapshot takes the memory of a state. */
  #copies: Promise<void> = Promise.resolve();

  constructor(options: DonorOptions) {
    this.#options = options;
  }

  /** Takes over a follower's channel. */
  enter(channel: Channel): void {
    let isServing = false;
    const frames = new FrameLength(this.#options.heartbeatMs());
    const link = new Link(channel, {
      arrayBytes: (header) => (streamOf(header) === "word" ? MAX_WORD_BYTES : undefined),
      onFrame: (frame) => {
        if (isServing) throw new Error("asks for two things at a time");
        const request = parseRequest(frame);
        isServing = true;
        this.#serve(link, request, frames).then(() => isServing = false, (error) => {
          if (!(error instanceof ClosedError)) this.#options.onError(error);
        });
      },
    });
    link.keepAlive(this.#options.heartbeatMs()); // one that is stopped must not keep others waiting
    this.#options.sums.follow(link.closed);
  }

  async #serve(link: Link, request: Request, frames: FrameLength): Promise<void> {
    if (request.want === "sum") return await this.#sendSum(link, request.step, frames);
    const copied = this.#copies.then(() => this.#sendState(link, frames));
    this.#copies = copied.catch(() => {}); // whose it is hears of it
    await copied;
  }

  async #sendSum(link: Link, step: number, frames: FrameLength): Promise<void> {
    const sum = await this.#options.sums.get(step);
    if (sum === null) return await sendWord(link, { kind: "lacks" });
    await sendPart(link, "sum", step, 0, new Uint8Array(sum.buffer, sum.byteOffset, sum.byteLength), frames);
  }

  async #sendState(link: Link, frames: FrameLength): Promise<void> {
    if (link.channel.isClosed) return;
    const snapshot = await this.#options.snapshot();
    if (snapshot === null) return link.close("no whole state here");
    const { applied: { step, digest }, bytes } = snapshot;
    await sendWord(link, { kind: "state", step, digest, bytes });
    const hash = new StreamHash();
    let offset = 0;
    for await (const chunk of snapshot.chunks()) {
      await sendPart(link, "state", step, offset, chunk, frames, hash);
      offset += chunk.length;
    }
    if (offset !== bytes) throw new Error(`A snapshot of ${bytes} bytes has ${offset}`);
    await sendWord(link, { kind: "end", hash: hash.digest });
  }
}
