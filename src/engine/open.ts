import type { Engine } from "./engine.ts";
import { type LocalEngineOptions, openLocalEngine } from "./localEngine.ts";
import { availableMemory } from "./memory.ts";
import type { EngineSpec } from "./spec.ts";
import { openWorkerEngine } from "./workerEngine.ts";

/**
 * Opens an engine: with a GPU of its own in a Worker or, where the caller gives a device, on the caller's thread, which
 * then blocks while it waits for the GPU.
 *
 * @throws UserError if there is no adapter or too little memory; the reason of `options.signal`
 */
export async function openEngine(spec: EngineSpec, options: LocalEngineOptions = {}): Promise<Engine> {
  const checked = { ...options, freeMemory: options.freeMemory ?? availableMemory() };
  return await (options.device === undefined ? openWorkerEngine : openLocalEngine)(spec, checked);
}
