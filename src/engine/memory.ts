import { UserError } from "../errors.ts";
import type { EngineReport } from "./engine.ts";

/**
 * Holds what an engine would take against what is there. The memory of a software adapter is the machine's; a GPU says
 * itself when its own is full.
 *
 * @throws UserError if an engine on a software adapter needs more than `freeMemory` bytes
 */
export function checkMemory(report: EngineReport, freeMemory: number): void {
  const needed = report.bytes.total;
  if (!report.isSoftware || needed <= freeMemory) return;
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  throw new UserError(
    `The model needs ${gib(needed)} of memory, but ${gib(freeMemory)} are free: lower train.microBatchSize ` +
      "or the model's size, or set engine.recompute=true",
  );
}

/** Bytes of memory that the machine has to spare; Infinity where the permission to ask was not given. */
export function availableMemory(): number {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo().available : Infinity;
}
