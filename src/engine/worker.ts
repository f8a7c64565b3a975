/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/** The Worker's side of `workerEngine.ts`: answers one request after the other. */
import { RetryError, UserError } from "../errors.ts";
import type { Engine } from "./engine.ts";
import { openLocalEngine } from "./localEngine.ts";
import type { Failure, Request, Response } from "./workerEngine.ts";

declare const self: DedicatedWorkerGlobalScope;

let engine: Engine | null = null;
let queue: Promise<void> = Promise.resolve();

function reply(response: Response, transfer: Transferable[] = []): void {
  self.postMessage(response, transfer);
}

async function answer(request: Request): Promise<unknown> {
  if ("open" in request) {
    engine = await openLocalEngine(request.open, {
      ...request.options,
      onTune: (done, total) => reply({ progress: "tune", done, total }),
      onCompile: (done, total) => reply({ progress: "compile", done, total }),
    });
    return engine.report;
  }
  if (engine === null) throw new Error("The engine is not open");
  const method = engine[request.method] as (...args: unknown[]) => Promise<unknown>;
  return await method.apply(engine, [...request.args]);
}

function failureOf(error: unknown): Failure {
  if (error instanceof UserError) return { kind: "UserError", message: error.message };
  if (error instanceof RetryError) return { kind: "RetryError", message: error.message };
  if (error instanceof Error) return { kind: "Error", message: error.message, stack: error.stack };
  return { kind: "Error", message: String(error) };
}

self.onmessage = ({ data: request }: MessageEvent<Request>) => {
  queue = queue.then(async () => {
    try {
      const result = await answer(request);
      const transfer = result instanceof Float32Array && result.buffer instanceof ArrayBuffer
        ? [result.buffer]
        : [];
      reply({ id: request.id, result }, transfer);
    } catch (error) {
      reply({ id: request.id, failure: failureOf(error) });
    }
  });
};
