import { MAX_PAYLOAD_BYTES } from "./frame.ts";

/** A link of 1 Mbit/s takes half a second for it. */
const MIN_BYTES = 1 << 16;
/** Of a heartbeat: who waits for a whole frame hears nothing meanwhile, and calls the link silent after 2.5. */
const SHARE = 1 / 8;

/** How long frames are: as long as the link delivers in an eighth of a heartbeat, but not below 64 KiB. */
export class FrameLength {
  readonly #periodMs: number;
  #bytes = MIN_BYTES;
  #since: { readonly acknowledged: number; readonly at: number } | null = null;

  constructor(heartbeatMs: number) {
    this.#periodMs = SHARE * heartbeatMs;
  }

  /**
   * Of the next frame's payload.
   *
   * @param acknowledged bytes that the link has delivered since it began
   * @param now milliseconds of a clock that never goes back
   */
  next(acknowledged: number, now: number): number {
    this.#since ??= { acknowledged, at: now };
    const ms = now - this.#since.at;
    if (ms >= this.#periodMs) {
      const delivered = (acknowledged - this.#since.acknowledged) * this.#periodMs / ms;
      this.#bytes = Math.min(Math.max(delivered - delivered % MIN_BYTES, MIN_BYTES), MAX_PAYLOAD_BYTES);
      this.#since = { acknowledged, at: now };
    }
    return this.#bytes;
  }
}
