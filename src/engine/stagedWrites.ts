import type { Runtime } from "../gpu/program.ts";
import type { Slice } from "../gpu/tensor.ts";

/** Bytes that are written between two waits: until then the driver holds a copy of them. */
const WRITE_BYTES = 2 ** 24;

/** Writes of any size, in portions, so that the driver's copies stay bounded. */
export class StagedWrites {
  readonly #runtime: Runtime;
  /** Since the last wait. */
  #bytes = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** @param values as many as the slice has */
  async write({ tensor, at, length }: Slice, values: Float32Array<ArrayBuffer>): Promise<void> {
    const portion = WRITE_BYTES / values.BYTES_PER_ELEMENT;
    for (let from = 0; from < length; from += portion) {
      const part = values.subarray(from, from + portion);
      this.#runtime.write({ tensor, at: at + from, length: part.length }, part);
      this.#runtime.flush();
      this.#bytes += part.byteLength;
      if (this.#bytes < WRITE_BYTES) continue;
      await this.#runtime.idle();
      this.#bytes = 0;
    }
  }
}
