/** What an allreduce is compared with: bare WebSockets that carry the same frames, without arithmetic. */
import { HEADER_BYTES } from "../src/net/link/frame.ts";
import { DEFAULT_WINDOW_BYTES } from "../src/net/link/link.ts";
import { bucketElementsOf } from "../src/net/member/stepSum.ts";
import { PART_ELEMENTS, Parts } from "../src/net/sum/partition.ts";

export const FRAME_BYTES = 4 * PART_ELEMENTS;
/** Raw WebSockets get the credit that ours have: so many bytes ahead, acknowledged in quarters. */
const WINDOW_BYTES = DEFAULT_WINDOW_BYTES;
const ACKNOWLEDGED_BYTES = WINDOW_BYTES / 4;

/** The frames of an exchange over bare WebSockets: cut out of an array as long as ours, and counted when they come. */
export class RawPair {
  readonly #out: WebSocket;
  #toSend: Uint8Array<ArrayBuffer>[] = [];
  #inFlight = 0;
  #unacknowledged = 0;
  #received = 0;
  #expected = 0;
  #done = Promise.withResolvers<void>();

  constructor(out: WebSocket, into: WebSocket) {
    this.#out = out;
    out.onmessage = () => {
      this.#inFlight -= ACKNOWLEDGED_BYTES;
      this.#sendWaiting();
    };
    into.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
      this.#unacknowledged += data.byteLength;
      if (this.#unacknowledged >= ACKNOWLEDGED_BYTES) {
        this.#unacknowledged -= ACKNOWLEDGED_BYTES;
        into.send(new Uint8Array(1));
      }
      if (++this.#received === this.#expected) this.#done.resolve();
    };
  }

  /** Sends frames of these payloads and waits for as many from the other side. */
  async exchange(sends: readonly number[], receives: number, array: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#expected += receives;
    this.#done = Promise.withResolvers();
    if (this.#received === this.#expected) this.#done.resolve();
    let at = 0;
    for (const bytes of sends) {
      if (HEADER_BYTES + at + bytes > array.length) at = 0;
      this.#toSend.push(array.subarray(at, HEADER_BYTES + at + bytes));
      at += bytes;
    }
    this.#sendWaiting();
    await this.#done.promise;
  }

  #sendWaiting(): void {
    while (this.#toSend.length > 0 && this.#inFlight + this.#toSend[0].byteLength <= WINDOW_BYTES) {
      const [message] = this.#toSend.splice(0, 1);
      this.#out.send(message);
      this.#inFlight += message.byteLength;
    }
  }
}

/** Payloads of the frames that `from` sends `to` in an allreduce of `length` elements. */
export function framesOf(length: number, from: number, to: number, members: number): number[] {
  const frames: number[] = [];
  const bucketElements = bucketElementsOf(length);
  for (let done = 0; done < length; done += bucketElements) {
    const parts = new Parts(Math.min(bucketElements, length - done), members, PART_ELEMENTS);
    const owners = parts.isSmall ? [to] : [to, from]; // its parts of the pieces, then the sums of ours
    for (const owner of owners) {
      for (let part = 0; part < parts.count; part++) {
        const slice = parts.at(part);
        if (parts.isOf(owner, part)) frames.push(4 * (slice.to - slice.from));
      }
    }
  }
  return frames;
}
