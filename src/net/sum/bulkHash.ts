/** The hash of `laneHash.ts` for many bytes that don't lie in a WebAssembly memory: as fast as if they did. */
import { digestOf, joinLanes, LANES, type Lanes } from "../link/laneHash.ts";
import { createTreeSum, scratchBytes } from "./treeSum.ts";

const PAGE = 65536;
/** What lies in the memory of the hash at a time: whole turns. */
const PART_BYTES = 4 * PAGE;

export function createBulkHash(): (bytes: Uint8Array) => Lanes {
  const scratch = scratchBytes(1);
  const pages = Math.ceil((scratch + PART_BYTES) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const { hash } = createTreeSum(memory, 0);
  const part = new Uint8Array(memory.buffer, scratch, PART_BYTES);
  return (bytes) => {
    let lanes: Lanes = new Int32Array(LANES);
    for (let at = 0; at < bytes.length; at += PART_BYTES) {
      const next = bytes.subarray(at, at + PART_BYTES);
      part.set(next);
      lanes = joinLanes(lanes, hash(scratch, next.length), next.length);
    }
    return lanes;
  };
}

/** A hash of what comes in parts. It depends on where they are cut, too. */
export class StreamHash {
  readonly #hash = createBulkHash();
  #lanes: Lanes = new Int32Array(LANES);
  #bytes = 0;

  add(part: Uint8Array): void {
    this.#lanes = joinLanes(this.#lanes, this.#hash(part), part.length);
    this.#bytes += part.length;
  }

  /** 16 hexadecimal digits. */
  get digest(): string {
    return digestOf(this.#lanes, this.#bytes);
  }
}
