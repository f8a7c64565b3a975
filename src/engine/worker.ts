/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** The Worker's side of `workerEngine.ts`. The engine itself sees to the order of the calls. */
import { RetryError, UserError } from "../errors.ts";
import type { Engine } from "./engine.ts";
import { openLocalEngine } from "./localEngine.ts";
import type { Failure, Request, Response } from "./workerEngine.ts";

declare const self: DedicatedWorkerGlobalScope;

let engine: Promise<Engine> | null = null;
/** Of what is under way, by id. */
const aborts = new Map<number, AbortController>();

function reply(response: Response, transfer: Transferable[] = []): void {
  self.postMessage(response, transfer);
}

async function answer(
  request: Exclude<Request, { abort: number }>,
  signal: AbortSignal,
): Promise<unknown> {
  if ("open" in request) {
    engine = openLocalEngine(request.open, {
      ...request.options,
      signal,
      onTune: (done, total) => reply({ progress: "onTune", done, total }),
      onCompile: (done, total) => reply({ progress: "onCompile", done, total }),
      onWeights: (done, total) => reply({ progress: "onWeights", done, total }),
    });
    return (await engine).report;
  }
  if (engine === null) throw new Error("The engine is not open");
  const opened = await engine;
  const method = opened[request.method] as (...args: unknown[]) => Promise<unknown>;
  const callback = (...told: unknown[]) => reply({ id: request.id, told });
  return await method.apply(opened, [
    ...request.args,
    ...(request.hasCallback === true ? [callback] : []),
    ...(request.hasSignal ? [signal] : []),
  ]);
}

function failureOf(error: unknown): Failure {
  if (error instanceof UserError) return { kind: "UserError", message: error.message };
  if (error instanceof RetryError) return { kind: "RetryError", message: error.message };
  if (error instanceof Error) return { kind: "Error", message: error.message, stack: error.stack };
  return { kind: "Error", message: String(error) };
}

self.onmessage = async ({ data: request }: MessageEvent<Request>) => {
  if ("abort" in request) return aborts.get(request.abort)?.abort();
  const { id } = request;
  const controller = new AbortController();
  aborts.set(id, controller);
  try {
    const result = await answer(request, controller.signal);
    const transfer = result instanceof Float32Array && result.buffer instanceof ArrayBuffer
      ? [result.buffer]
      : [];
    reply({ id, result }, transfer);
  } catch (error) {
    reply({ id, failure: failureOf(error) });
  } finally {
    aborts.delete(id);
  }
};
