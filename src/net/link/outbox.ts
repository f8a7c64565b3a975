import type { OutgoingFrame } from "./frame.ts";

/** Sends frames to a peer; the transport behind it holds the links, their credit and their checks. */
export interface PeerTransport {
  /** Resolves when the frame was handed over within the peer's credit: its payload may then change. */
  send(peer: string, frame: OutgoingFrame): Promise<void>;
}

interface Waiting {
  readonly frame: OutgoingFrame;
  readonly sent: () => void;
}

/** What waits to be sent to one peer, first in, first out: frames are read from memory when their turn comes. */
export class Outbox {
  readonly #transport: PeerTransport;
  readonly #peer: string;
  readonly #onError: (error: unknown) => void;
  #waiting: Waiting[] = [];
  #isSending = false;

  constructor(transport: PeerTransport, peer: string, onError: (error: unknown) => void) {
    this.#transport = transport;
    this.#peer = peer;
    this.#onError = onError;
  }

  /** @param sent is called when the frame was handed over */
  push(frame: OutgoingFrame, sent: () => void): void {
    this.#waiting.push({ frame, sent });
    if (!this.#isSending) this.#sendAll();
  }

  /** Forgets what waits; a frame that the transport already has may still leave. */
  clear(): void {
    this.#waiting = [];
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        await this.#transport.send(this.#peer, next.frame);
        next.sent();
      }
    } catch (error) {
      this.clear();
      this.#onError(error);
    }
    this.#isSending = false;
  }
}
