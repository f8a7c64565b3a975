import type { ModelSpec } from "../../config/deriveModel.ts";
import type { SpecialTokens } from "./specialTokens.ts";
import type { HfTensor } from "./tensors.ts";

/** How an architecture of Hugging Face is written down: its config.json, and the names and layout of its weights. */
export interface HfFamily {
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** The class of transformers that loads it. */
  readonly className: string;
  /** What most names of tensors begin with in files of newer versions. Names below are without it. */
  readonly prefix: string;
  /** Names that some versions give to tensors, and the usual ones. */
  readonly aliases: Readonly<Record<string, string>>;
  /** Tensors that some versions store although they are no parameters: masks, tables. */
  readonly ignored: RegExp;
  /** Tensors that are the word embedding again where they are no parameters of their own. */
  readonly copies: readonly string[];
  /** What messages call settings of ours that config.json has by another name. */
  readonly keys: Partial<Readonly<Record<keyof ModelSpec, string>>>;
  /**
   * Reads a config.json of any version; keys that change nothing are passed over.
   *
   * @param has does the model's file have this tensor?
   * @throws UserError that names the key, its value and what is supported
   */
  readConfig(json: unknown, has: (tensor: string) => boolean): ModelSpec;
  /**
   * The keys of a config.json that are the architecture's own: all of them, since a missing one takes a default that
   * may be another, and in the spellings of old and new versions.
   */
  writeConfig(spec: ModelSpec, tokens: Partial<SpecialTokens>): Readonly<Record<string, unknown>>;
  /**
   * What the architecture can't be set to, as `key=value`; none: it expresses the model.
   *
   * That is what decides which function the weights are. How they are trained is no obstacle: `dropout`,
   * `attentionDropout`, `zLoss`, `initStd` and `scaledResidualInit` change no logit, no weights bring them along (a run
   * that starts from weights sets them itself), and a run that resumes has them in its own config. So `writeConfig` says
   * of them what the architecture has keys for: LLaMA has none for `dropout`, T5 a single one for both dropouts, which
   * gets `dropout`, and z-losses have none anywhere.
   */
  obstacles(spec: ModelSpec): string[];
  /** All parameters, in the order in which the model uses them. */
  tensors(spec: ModelSpec): HfTensor[];
}

/** The values that an architecture knows, by setting; any where a setting is not named. */
export type Known = { readonly [K in keyof ModelSpec]?: readonly ModelSpec[K][] };

/** What architectures that say nothing else have in common. */
const USUAL: Known = {
  architecture: ["causalDecoder"],
  attention: ["dense"],
  embeddingNorm: [false],
  qkNorm: [false],
  parallelResidual: [false],
  scaleScores: [true],
  scaleOutput: [false],
  logitSoftCap: [null],
  bias: [true],
};

/** The settings of a model that are not among the known ones, as `key=value`. */
export function unknownSettings(spec: ModelSpec, known: Known): string[] {
  const all = { ...USUAL, ...known };
  return (Object.keys(all) as (keyof ModelSpec)[])
    .filter((key) => !(all[key] as readonly unknown[]).includes(spec[key]))
    .map((key) => `${key}=${spec[key]}`);
}
