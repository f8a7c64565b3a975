import { createHash } from "node:crypto";
import type { TensorToWrite } from "../formats/safetensors.ts";

/** Tensors in the order in which they are digested and stored: by name, bytewise. */
export function sortedByName<T extends { readonly name: string }>(tensors: readonly T[]): T[] {
  return tensors.toSorted((a, b) => (a.name < b.name ? -1 : 1)); // names are ASCII
}

/** Takes the digest of tensors while they are read for another purpose. */
export interface Digester {
  /** The same tensors; their values are digested as they are asked for, so ask in order. */
  through(tensors: readonly TensorToWrite[]): TensorToWrite[];
  /** The digest of all that was read, in hex. */
  hex(): string;
}

/**
 * A run's digest: SHA-256 over the raw little-endian bytes of all tensors of model.safetensors, then of
 * optimizer.safetensors, each sorted by name. Runs with the same digest have the same state, bit for bit.
 */
export function digester(): Digester {
  const hash = createHash("sha256");
  return {
    through: (tensors) =>
      tensors.map((tensor) => ({
        ...tensor,
        async values() {
          const values = await tensor.values();
          hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
          return values;
        },
      })),
    hex: () => hash.digest("hex"),
  };
}

/** The digest of a state that is not saved: reads every tensor once. */
export async function digestOf(...files: readonly (readonly TensorToWrite[])[]): Promise<string> {
  const digest = digester();
  for (const tensors of files) {
    for (const tensor of digest.through(sortedByName(tensors))) await tensor.values();
  }
  return digest.hex();
}
