import { UserError } from "../errors.ts";
import type { EngineReport } from "./engine.ts";

/**
 * Holds what an engine would take against what is there. The memory of a software adapter is the machine's; a GPU says
 * itself when its own is full.
 *
 * @throws UserError if an engine on a software adapter needs more than `freeMemory` bytes
 */
export function checkMemory({ isSoftware, bytes }: EngineReport, freeMemory: number): void {
  if (!isSoftware || bytes.total <= freeMemory) return;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  const state = bytes.total - bytes.activations;
  const smaller = `choose a smaller model${
    bytes.gradients > bytes.weights ? " or fewer scale.virtualWorkers" : ""
  }`;
  throw new UserError(
    `The model needs ${gib(bytes.total)} of memory, but ${gib(freeMemory)} are free: ` +
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
