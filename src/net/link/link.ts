/**
 * A link of the data plane: frames both ways over an authenticated channel, each way within a window of credit.
 *
 * Send data over the links that others have opened to us, and let them send over ours: a message from 1 KiB on leaves
 * Deno's client side in two small writes, and Nagle's algorithm holds the second one back for up to 40 ms. Its server
 * side doesn't do that.
 */
import { type Channel, ClosedError, type CloseReason, type Message } from "./channel.ts";
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  type FrameBounds,
  HEADER_BYTES,
  isData,
  isIntact,
  MAX_PAYLOAD_BYTES,
  type OutgoingFrame,
} from "./frame.ts";

import { TokenBucket } from "./tokenBucket.ts";

export const DEFAULT_WINDOW_BYTES = 4 << 20;

/** The receiver gives credit back in quarters, so that a sender always has three quarters to go on with. */
const CREDITS_PER_WINDOW = 4;
/** What may wait to be sent beside data: credits, pings and pongs. */
const MAX_UNSENT_WORDS = 1 << 16;
const MAX_WORDS_PER_SECOND = 20_000;

export interface LinkOptions {
  /** How long the array is that a frame names: see {@linkcode FrameBounds}. */
  readonly arrayBytes: FrameBounds["arrayBytes"];
  /**
   * Takes a frame. Its bytes count as consumed, and their credit goes back, when this returns or its promise resolves;
   * the order of frames is kept, and later ones don't wait for earlier promises. To refuse the frame, throw: the link
   * closes as a `fault` with the error's message.
   */
  readonly onFrame: (frame: Frame) => void | Promise<void>;
  /** Whether `onFrame` itself checks the checksums of payloads, where it has copied them to. Default: false */
  readonly leavesChecksums?: boolean;
  /** Bytes in flight each way: ours to hold unconsumed, and the most we send ahead. At least twice a frame. */
  readonly windowBytes?: number;
  readonly maxPayload?: number;
  /** Credits, pings and pongs that may arrive in a second, and at once; data is bounded by credit. */
  readonly maxWordsPerSecond?: number;
}

interface Sender extends PromiseWithResolvers<void> {
  readonly frame: OutgoingFrame;
}

export class Link {
  readonly channel: Channel;
  readonly #options: LinkOptions;
  readonly #windowBytes: number;
  readonly #maxPayload: number;
  readonly #words: TokenBucket;
  /** Every frame that we send is written here first. */
  readonly #message: Uint8Array<ArrayBuffer>;
  /** Bytes of data frames since the link began: sent, and of these consumed over there. */
  #sent = 0;
  #acknowledged = 0;
  /** How much the other side takes ahead; it says so first of all. */
  #peerWindow = 0;
  /** Bytes of data frames since the link began: received, of these consumed, and of these acknowledged. */
  #received = 0;
  #consumed = 0;
  #credited = 0;
  readonly #senders: Sender[] = [];
  readonly #pings = new Map<number, { readonly at: number; readonly pong: PromiseWithResolvers<number> }>();
  #numPings = 0;
  #error: ClosedError | null = null;

  /** Takes over a channel on which both sides have proved who they are. */
  constructor(channel: Channel, options: LinkOptions) {
    const { windowBytes = DEFAULT_WINDOW_BYTES, maxPayload = MAX_PAYLOAD_BYTES } = options;
    const { maxWordsPerSecond = MAX_WORDS_PER_SECOND } = options;
    const frameBytes = HEADER_BYTES + maxPayload;
    if (windowBytes < 2 * frameBytes) {
      throw new Error(`A window of ${windowBytes} bytes is less than two frames`);
    }
    this.channel = channel;
    this.#options = options;
    this.#windowBytes = windowBytes;
    this.#maxPayload = maxPayload;
    this.#words = new TokenBucket(maxWordsPerSecond, maxWordsPerSecond);
    this.#message = new Uint8Array(frameBytes);
    this.closed.then((reason) => this.#fail(new ClosedError(reason)));
    channel.consume({
      onMessage: (message) => this.#take(message),
      maxMessage: frameBytes,
      maxUnsent: windowBytes + MAX_UNSENT_WORDS,
    });
    this.#giveCredit();
  }

  /** Resolves once, when either side has ended the link. */
  get closed(): Promise<CloseReason> {
    return this.channel.closed;
  }

  /** Bytes that the other side has consumed, as it says now and then. */
  get bytesAcknowledged(): number {
    return this.#acknowledged;
  }

  /** Bytes sent and not yet consumed by the other side. */
  get bytesInFlight(): number {
    return this.#sent - this.#acknowledged;
  }

  /**
   * Sends a part of an array, after those before it, as soon as there is credit. The payload is copied when the promise
   * resolves and must not change before. Rejects with a ClosedError.
   */
  send(frame: OutgoingFrame): Promise<void> {
    if (!isData(frame.type)) throw new Error(`A ${frame.type} frame is the link's own to send`);
    if (frame.payload.byteLength > this.#maxPayload) {
      throw new Error(
        `A payload of ${frame.payload.byteLength} bytes is over the cap of ${this.#maxPayload}`,
      );
    }
    if (this.#error !== null) return Promise.reject(this.#error);
    const sender: Sender = { frame, ...Promise.withResolvers<void>() };
    this.#senders.push(sender);
    this.#sendWaiting();
    return sender.promise;
  }

  /** The milliseconds until an answer. Rejects with a ClosedError. */
  ping(): Promise<number> {
    if (this.#error !== null) return Promise.reject(this.#error);
    const pong = Promise.withResolvers<number>();
    const id = this.#numPings++;
    this.#pings.set(id, { at: performance.now(), pong });
    this.#say("ping", id);
    return pong.promise;
  }

  /**
   * Says something every `heartbeatMs`, and closes as `silent` before the third time in a row that nothing is heard. An
   * answer may come late, behind all data that is on its way over a slow link: until then it is credit that is given,
   * which the other side hears.
   */
  keepAlive(heartbeatMs: number): void {
    this.channel.keepAlive(heartbeatMs, () => {
      if (this.#pings.size > 0) this.#giveCredit();
      else this.ping().catch(() => {}); // why it failed is what `closed` says
    });
  }

  close(detail = ""): void {
    this.channel.close("left", detail);
  }

  #take(message: Message): void {
    if (typeof message === "string") return this.channel.close("fault", "text among frames");
    const frame = decodeFrame(message, {
      maxPayload: this.#maxPayload,
      arrayBytes: this.#options.arrayBytes,
    });
    if (typeof frame === "string") this.channel.close("fault", frame);
    else if (this.#options.leavesChecksums !== true && !isIntact(frame)) {
      this.channel.close("fault", "wrong checksum");
    } else if (isData(frame.type)) this.#takeData(frame, message.byteLength);
    else if (!this.#words.take()) this.channel.close("fault", "too many words a second");
    else if (frame.type === "credit") this.#takeCredit(frame);
    else if (frame.type === "ping") this.#say("pong", frame.offset);
    else this.#takePong(frame.offset);
  }

  #takeData(frame: Frame, numBytes: number): void {
    this.#received += numBytes;
    if (this.#received - this.#credited > this.#windowBytes) {
      return this.channel.close("fault", "more data than there was credit for");
    }
    const consumed = () => {
      this.#consumed += numBytes;
      const threshold = Math.min(this.#windowBytes, this.#peerWindow) / CREDITS_PER_WINDOW;
      if (this.#consumed - this.#credited >= threshold) this.#giveCredit();
    };
    const refused = (error: unknown) =>
      this.channel.close("fault", error instanceof Error ? error.message : String(error));
    try {
      const consuming = this.#options.onFrame(frame);
      if (consuming === undefined) consumed();
      else consuming.then(consumed, refused);
    } catch (error) {
      refused(error);
    }
  }

  /** `offset` bytes were consumed over there, and `bucket` bytes may be in flight. */
  #takeCredit({ offset, bucket }: Frame): void {
    if (offset < this.#acknowledged || offset > this.#sent || bucket < this.#message.byteLength) {
      return this.channel.close("fault", "credit for what was not sent");
    }
    this.#acknowledged = offset;
    this.#peerWindow = bucket;
    this.#sendWaiting();
  }

  #takePong(id: number): void {
    const ping = this.#pings.get(id);
    if (ping === undefined) return this.channel.close("fault", "pong without a ping");
    this.#pings.delete(id);
    ping.pong.resolve(performance.now() - ping.at);
  }

  #sendWaiting(): void {
    const window = Math.min(this.#windowBytes, this.#peerWindow);
    while (this.#senders.length > 0) {
      if (this.channel.isClosed) return;
      const { frame, resolve } = this.#senders[0];
      const numBytes = HEADER_BYTES + frame.payload.byteLength;
      if (this.bytesInFlight + numBytes > window) return;
      this.#sent += numBytes;
      this.channel.send(encodeFrame(this.#message, frame));
      this.#senders.shift();
      resolve();
    }
  }

  #giveCredit(): void {
    this.#credited = this.#consumed;
    this.#say("credit", this.#consumed, this.#windowBytes);
  }

  #say(type: "credit" | "ping" | "pong", offset: number, bucket = 0): void {
    const payload = new Uint8Array();
    this.channel.send(
      encodeFrame(this.#message, {
        type,
        wireType: "bytes",
        bucket,
        epoch: 0,
        step: 0,
        piece: 0,
        offset,
        payload,
      }),
    );
  }

  #fail(error: ClosedError): void {
    this.#error = error;
    for (const { reject } of this.#senders.splice(0)) reject(error);
    for (const { pong } of this.#pings.values()) pong.reject(error);
    this.#pings.clear();
  }
}
