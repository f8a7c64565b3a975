/**
 * Bloomery trains language models with WebGPU, from Deno programs as from the command line.
 *
 * ```ts ignore
 * import { loadModel, train } from "@bloomery/bloomery";
 *
 * const { folder } = await train({ name: "quick", train: { duration: "50 steps" } }, { folder: "runs/quick" });
 * await using model = await loadModel(folder!);
 * for await (const piece of model.generate("interface ", { maxTokens: 100 })) console.log(piece);
 * ```
 *
 * A project reaches a copy on disk with `"links": ["path/to/bloomery"]` in its deno.json.
 *
 * Nothing here ends the process, prints, or, unless it is given a path, touches a file: training without a folder gives
 * the model back in memory, and `loadModel` takes it from there. The one exception is the cache of measured kernel
 * variants in the user's cache folder, which `engine: { tune: false }` leaves alone.
 *
 * The GPU is opened in a Worker of its own, so that the caller's loop stays alive; or it is a `GPUDevice` of the
 * caller's, whose thread then blocks while the GPU computes.
 *
 * Permissions: WebGPU needs none. The Worker's modules are read at run time, which takes `--allow-read` of this
 * package's folder where it is on disk; a device of the caller's needs no Worker and no permission. A group (`join`,
 * `joinGroup`) adds in a Worker too, and takes `--allow-net` of the coordinator and the other nodes. Beyond that:
 * `--allow-read` and `--allow-write` of the run's folder and the data; `--allow-run=deno` for the embedded corpus, which
 * is what is trained on where `data` is not set; `--allow-sys=systemMemoryInfo` to be told of too little memory before
 * a software driver takes it; `--allow-env=HOME,XDG_CACHE_HOME,LOCALAPPDATA` and access to `~/.cache/bloomery` so that
 * kernel variants are measured only once.
 *
 * In a program made with `deno compile` the Worker's module must be named, since the compiler can't see it:
 * `deno compile --include PACKAGE/src/engine/worker.ts main.ts`, and for a group `--include
 * PACKAGE/src/net/sum/sumWorker.ts`, too. The shaders are imported as text and come along. Such a
 * program has no embedded corpus: set `data`.
 *
 * @module
 */
export {
  type ConvertedModel,
  exportModel,
  type ExportOptions,
  importModel,
  type ImportOptions,
} from "./src/api/convert.ts";
export type { ArrayLengths, Arrays } from "./src/api/arrayLayout.ts";
export type { ArraySums, FillArrays, ServiceState, WorkerPart } from "./src/api/arrayReplica.ts";
export { coordinate, type CoordinateOptions } from "./src/api/coordinate.ts";
export { type Group, type GroupOptions, joinGroup } from "./src/api/group.ts";
export type { JoinOptions } from "./src/api/member.ts";
export { evaluate, generate, type ModelOrSource } from "./src/api/model.ts";
export { type GroupBytes, type HostBytes, type Plan, plan, type PlanOptions } from "./src/api/plan.ts";
export type { RunSettings } from "./src/api/settings.ts";
export { type Ready, train, type TrainOptions, type TrainResult } from "./src/api/train.ts";
export { verify, type VerifyOptions } from "./src/api/verify.ts";
export type { ModelSpec } from "./src/config/deriveModel.ts";
export type { Dataset } from "./src/data/dataset.ts";
export type { DecoderOptions, Frame, Tokenizer } from "./src/data/tokenizers/tokenizer.ts";
export type { EngineReport } from "./src/engine/engine.ts";
export { RetryError, UserError } from "./src/errors.ts";
export { type ListedGpu, listGpus, selectGpu } from "./src/engine/selectGpu.ts";
export { importToken } from "./src/net/link/auth.ts";
export { openWithCa } from "./src/net/link/caFile.ts";
export type { Coordinator } from "./src/net/coordinator/coordinatorServer.ts";
export type { ListenOptions } from "./src/net/link/listenServer.ts";
export type { GroupStatus } from "./src/net/control/messages.ts";
export { OwnServer } from "./src/net/link/ownServer.ts";
export type { Applied } from "./src/net/replica.ts";
export { groupStatus, type StatusOptions } from "./src/net/control/status.ts";
export type { Evaluation } from "./src/eval/evaluate.ts";
export type { GenerateOptions, TokenOptions } from "./src/eval/generate.ts";
export { type EvaluateOptions, loadModel, type LoadOptions, type Model } from "./src/eval/model.ts";
export type { StepLine } from "./src/train/metricsLog.ts";
export type { ModelFiles, ModelSource } from "./src/train/modelFiles.ts";
export type { Validation } from "./src/train/validate.ts";
export type { Comparison } from "./src/verify/comparison.ts";
