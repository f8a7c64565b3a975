/**
 * An engine in a Worker of its own: the caller's loop stays alive while the GPU is waited for.
 */
import { RetryError, UserError } from "../errors.ts";
import type { Engine } from "./engine.ts";
import type { LocalEngineOptions } from "./localEngine.ts";
import type { EngineSpec } from "./spec.ts";

/** The methods that are passed on. */
export type EngineMethod = Exclude<keyof Engine, "report">;

export type Request = ({ readonly id: number } & (Opening | Call)) | Abort;

interface Opening {
  readonly open: EngineSpec;
  readonly options: Pick<WorkerEngineOptions, "maxBinding" | "freeMemory" | "tune">;
}

/** Ends the opening, or a call: the one with this id. */
interface Abort {
  readonly abort: number;
}

interface Call {
  readonly method: EngineMethod;
  readonly args: readonly unknown[];
  /** A callback and a signal, which can't cross the thread, follow the arguments: in this order. */
  readonly hasCallback?: boolean;
  readonly hasSignal: boolean;
}

/** An error as it crosses the thread: its kind, so that it can be thrown again as what it was. */
export interface Failure {
  readonly kind: "UserError" | "RetryError" | "Error";
  readonly message: string;
  readonly stack?: string;
}

export type Response =
  | { readonly id: number; readonly result: unknown }
  /** What a call's callback is told. */
  | { readonly id: number; readonly told: readonly unknown[] }
  | { readonly id: number; readonly failure: Failure }
  | { readonly progress: Progress; readonly done: number; readonly total: number };

/** The callbacks that cross the thread. */
type Progress = "onTune" | "onCompile" | "onWeights";

/** Must not throw: nobody hears of it. */
type Callback = (...told: unknown[]) => void;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  readonly callback?: Callback;
}

export type WorkerEngineOptions = Omit<LocalEngineOptions, "device">;

function thrown({ kind, message, stack }: Failure): Error {
  if (kind === "UserError") return new UserError(message);
  if (kind === "RetryError") return new RetryError(message);
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** @throws UserError if there is no adapter or too little memory; the reason of `options.signal` */
export async function openWorkerEngine(spec: EngineSpec, options: WorkerEngineOptions = {}): Promise<Engine> {
  const { maxBinding, freeMemory, tune, signal } = options;
  signal?.throwIfAborted();
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    type: "module",
    name: "bloomery gpu",
  });
  const waiting = new Map<number, Waiting>();
  let nextId = 0;
  let broken: Error | null = null;

  const send = async (request: Opening | Call, signal?: AbortSignal, callback?: Callback) => {
    signal?.throwIfAborted();
    if (broken !== null) throw broken;
    const id = nextId++;
    const abort = () => worker.postMessage({ abort: id } satisfies Request);
    signal?.addEventListener("abort", abort);
    try {
      return await new Promise<unknown>((resolve, reject) => {
        waiting.set(id, { resolve, reject, callback });
        worker.postMessage({ id, ...request });
      });
    } catch (error) {
      signal?.throwIfAborted(); // with the caller's reason, which may not cross the thread
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  };

  worker.onmessage = ({ data }: MessageEvent<Response>) => {
    if ("progress" in data) {
      return options[data.progress]?.(data.done, data.total);
    }
    const call = waiting.get(data.id);
    if ("told" in data) return call?.callback?.(...data.told);
    waiting.delete(data.id);
    if ("failure" in data) call?.reject(thrown(data.failure));
    else call?.resolve(data.result);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    broken = new Error(`The GPU's worker failed: ${event.message}`);
    for (const { reject } of waiting.values()) reject(broken);
    waiting.clear();
  };

  const call = (method: EngineMethod) => (...args: unknown[]) => send({ method, args, hasSignal: false });
  const stoppable = (method: EngineMethod, takes: number) => (...args: unknown[]) => {
    const signal = args[takes] as AbortSignal | undefined;
    return send({ method, args: args.slice(0, takes), hasSignal: signal !== undefined }, signal);
  };
  try {
    const report = await send({ open: spec, options: { maxBinding, freeMemory, tune } }, signal);
    const close = call("close");
    return {
      report,
      write: call("write"),
      read: call("read"),
      beginStep: call("beginStep"),
      accumulate: stoppable("accumulate", 2),
      endWorker: call("endWorker"),
      readSum: call("readSum"),
      finishSum: (last, into, parts, onFinal, signal) => {
        const hasSignal = signal !== undefined;
        const request = {
          method: "finishSum" as const,
          args: [last, into, parts],
          hasCallback: true,
          hasSignal,
        };
        return send(request, signal, onFinal as Callback) as Promise<void>;
      },
      writeSum: call("writeSum"),
      update: call("update"),
      metrics: call("metrics"),
      clearHalt: call("clearHalt"),
      evaluate: stoppable("evaluate", 1),
      logits: call("logits"),
      encode: call("encode"),
      next: call("next"),
      idle: call("idle"),
      close: async () => {
        try {
          await close();
        } finally {
          worker.terminate();
        }
      },
    } as Engine;
  } catch (error) {
    worker.terminate();
    throw error;
  }
}
