import { UserError } from "../errors.ts";
import type { EngineNeeds } from "./report.ts";

/**
 * Holds what an engine would take against what is there. A software adapter's memory is the machine's, as is that of
 * partial sums on the host; a GPU says itself when its own is full.
 *
 * @throws UserError if it needs more than `freeMemory` bytes of the machine's
 */
export function checkMemory({ isSoftware, bytes, hostSumBytes }: EngineNeeds, freeMemory: number): void {
  const needed = hostSumBytes + (isSoftware ? bytes.total : 0);
  if (needed <= freeMemory) return;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  const free = `but ${gib(freeMemory)} are free`;
  if (!isSoftware) {
    throw new UserError(
      `engine.hostSums needs ${gib(needed)} of the machine's memory, ${free}: ` +
        "choose fewer scale.virtualWorkers or a smaller model",
    );
  }
  const state = needed - bytes.activations;
  const smaller = `choose a smaller model${
    bytes.gradients + hostSumBytes > bytes.weights ? " or fewer scale.virtualWorkers" : ""
  }`;
  throw new UserError(
    `The model needs ${gib(needed)} of memory, ${free}: ` +
      (state < freeMemory
        ? "lower train.microBatchSize or set engine.recompute=true"
        : `parameters and optimizer alone take ${gib(state)}, ${smaller}`),
  );
}

/** Bytes of memory that the machine has to spare; Infinity where the permission to ask was not given. */
export function availableMemory(): number {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo().available : Infinity;
}
