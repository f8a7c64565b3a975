import { deriveRun, describeDeviations } from "../config/derive.ts";
import type { RunConfig } from "../config/schema.ts";
import { type Dataset, openDataset } from "../data/dataset.ts";
import { textEnds } from "../data/objectives/vocabulary.ts";
import type { Engine, EngineReport } from "../engine/engine.ts";
import type { LocalEngineOptions } from "../engine/localEngine.ts";
import { openEngine } from "../engine/open.ts";
import type { EngineSpec } from "../engine/spec.ts";
import { UserError } from "../errors.ts";
import { generateText } from "../eval/generate.ts";
import { createPromptFormat } from "../eval/promptFormat.ts";
import { checkpointPath } from "../train/checkpoint.ts";
import { readSourceModel, requireModelOf } from "../train/fromModel.ts";
import { type ModelFiles, modelInMemory, readModelFiles } from "../train/modelFiles.ts";
import { openRunFolder, type RunFolder } from "../train/runFolder.ts";
import { requireResumable } from "../train/store.ts";
import { runTraining } from "../train/trainer.ts";
import type { TrainingOptions, TrainingResult } from "../train/trainingRun.ts";
import { contactGroup } from "./firstContact.ts";
import { trainInGroup } from "./join.ts";
import type { JoinOptions } from "./member.ts";
import { datasetOptions, engineSpec, expectedVocabulary } from "./parts.ts";
import { resolveSettings, type RunSettings } from "./settings.ts";

/** How a run is trained, beside what it is. */
export interface TrainOptions
  extends
    Pick<TrainingOptions, "signal" | "onProgress" | "onValidation" | "onSample" | "onMessage">,
    Pick<LocalEngineOptions, "freeMemory" | "onTune" | "onCompile" | "onWeights"> {
  /** Where the run is kept, and goes on from if it was stopped. null, which is the default: nowhere. */
  readonly folder?: string | null;
  /**
   * A GPU of the caller's. The engine then runs on the caller's thread and blocks it while it waits for the GPU;
   * without it the engine opens a GPU in a Worker of its own. In a group (`join`) that thread sends the heartbeats, too:
   * micro-batches that take longer than three of them, 3 s by default, have the others think this node is lost.
   */
  readonly device?: GPUDevice;
  /** What was found and made, before the first step. */
  readonly onReady?: (ready: Ready) => void;
  /** Trains together with other nodes: the same bits, however many there are. Without it: alone. */
  readonly join?: JoinOptions;
  /**
   * For a node without a folder whose group's run another node is to keep: where the trained model is saved if none did
   * when the run ended, and that falls to this node; `-` and the node's name are added if the folder is there. `folder` of
   * the result then tells where. Default: nowhere, the result alone has it.
   */
  readonly fallbackFolder?: string;
  /** Text that the trained model goes on with at the end; null, which is the default: no sample. */
  readonly finalPrompt?: string | null;
}

/** A run before its first step. */
export interface Ready {
  readonly dataset: Dataset;
  readonly report: EngineReport;
  readonly totalSteps: number;
}

/** What training came to. */
export interface TrainResult extends TrainingResult {
  /** What the trained model writes after `finalPrompt`. */
  readonly sample: string | null;
  /** What was trained on and what was held out. */
  readonly dataset: Dataset;
  /** The model as its checkpoint has it, for `loadModel` or to be sent somewhere. Without a folder it is in memory. */
  files(): Promise<Required<ModelFiles>>;
}

/**
 * Trains a model, or goes on with the run that the folder holds.
 *
 * The signal drops the unfinished step, saves the last applied one if there is a folder, and ends; the result then has
 * `interrupted: true`. Before the first step is applied there is nothing to save: the signal's reason is thrown at once. Several
 * trainings in one process don't disturb one another.
 *
 * With `join`, each step is done together with the nodes of a group; all of them have the same settings.
 *
 * @throws UserError for a mistake in settings, data or folder, or too little memory or disk: nothing was done, and a
 * folder that was made is gone; RetryError if the GPU was lost: the same call goes on from the last checkpoint; the
 * signal's reason if it comes before the first step is applied
 *
 * @example
 * ```ts
 * const { validation, files } = await train({ data: "./book.txt", train: { duration: "500 steps" } }, {
 *   onProgress: ({ step, loss }) => console.log(step, loss),
 * });
 * console.log(validation?.bitsPerByte);
 * await using model = await loadModel(await files());
 * ```
 */
export async function train(settings: RunSettings = {}, options: TrainOptions = {}): Promise<TrainResult> {
  const { config, text } = await resolveSettings(settings, options.folder);
  return await trainRun(config, options, text);
}

/** What to do where two nodes of a group would keep their run in the same folder. */
const ALL_IN_ONE_PLACE =
  "give each node of a group a folder of its own (--runs FOLDER), or stop the other one";

/** As `train`, from a whole config. @param text in place of `config.data` */
export async function trainRun(
  config: RunConfig,
  options: TrainOptions,
  text?: string,
): Promise<TrainResult> {
  const { folder: path = null, join, signal, onMessage } = options;
  const source = config.from === null ? null : await readSourceModel(config.from, path);
  engineSpec(config, expectedVocabulary(config, source)); // mistakes in the model show before the text is read
  for (const note of describeDeviations(config)) onMessage?.(note);
  if (join !== undefined) await contactGroup(join, config.name, onMessage ?? (() => {}));
  signal?.throwIfAborted();
  using folder = path === null ? null : await openRunFolder(path, config, join && ALL_IN_ONE_PLACE);
  const dataset = await openDataset({ ...datasetOptions(config, source, path, text), onMessage });
  const spec = engineSpec(config, dataset);
  if (source !== null) requireModelOf(source, spec.model);
  if (folder !== null) await requireResumable(folder, config, dataset);
  const engine = await openEngine(spec, engineOptions(config, options));
  try {
    options.onReady?.({ dataset, report: engine.report, totalSteps: deriveRun(config).totalSteps });
    const { sampleEvery, samplePrompt, sampleTokens } = config.log;
    const sampling = { maxTokens: sampleTokens, seed: config.seed, signal };
    const { model: { architecture }, columns } = spec;
    const ends = textEnds(dataset.tokenizer, dataset.specialTokens);
    const format = createPromptFormat(
      { architecture, objective: config.objective, columns, ends },
      dataset.vocabulary,
    );
    // A prompt that the tokenizer can't express is replaced by the start of the held-out text (or of the corpus).
    const sampleAfter = async (wanted: string) => {
      const prompt = promptFor(dataset, wanted);
      const pieces = generateText(engine, format, dataset.tokenizer, prompt, sampling);
      return prompt + (await Array.fromAsync(pieces)).join("");
    };
    const isHeard = folder !== null || options.onSample !== undefined;
    const sampleText = sampleEvery !== null && isHeard ? () => sampleAfter(samplePrompt) : undefined;
    const training = { ...options, config, engine, dataset, folder, sampleText };
    const result = await (join === undefined ? runTraining(training) : trainInGroup(training, join));
    const { finalPrompt = null } = options;
    const sample = finalPrompt === null || result.interrupted ? null : await sampleAfter(finalPrompt);
    return { ...result, sample, dataset, files: await filesOf(result, engine, spec, dataset, folder) };
  } finally {
    await engine.close();
  }
}

function promptFor(dataset: Dataset, wanted: string): string {
  try {
    if (dataset.tokenizer.encode(wanted).length > 0) return wanted;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
  }
  const text = new TextDecoder().decode(dataset.text(dataset.validationTokens > 0 ? "validation" : "train"));
  return text.slice(0, 10);
}

/** The way to the model after the engine is closed: its checkpoint, or a copy in memory where there is none. */
async function filesOf(
  { steps }: TrainingResult,
  engine: Engine,
  spec: EngineSpec,
  dataset: Dataset,
  folder: RunFolder | null,
): Promise<TrainResult["files"]> {
  if (folder !== null) return () => readModelFiles(checkpointPath(folder.checkpoints, steps));
  const files = await modelInMemory(engine, spec.model, dataset);
  return () => Promise.resolve(files);
}

function engineOptions(config: RunConfig, options: TrainOptions): LocalEngineOptions {
  const { device, freeMemory, onTune, onCompile, onWeights, signal } = options;
  const { tune, maxBinding } = config.engine;
  return { device, freeMemory, onTune, onCompile, onWeights, signal, tune, maxBinding };
}
