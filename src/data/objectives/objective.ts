import type { TokenArray } from "../windows.ts";
import { causal } from "./causal.ts";
import { prefix } from "./prefix.ts";
import { span } from "./span.ts";
import { type ObjectiveTokens, objectiveTokens, type Vocabulary } from "./vocabulary.ts";

export type Architecture = "causalDecoder" | "nonCausalDecoder" | "encoderDecoder";

/** What a model learns to predict; the config's `objective`. */
export interface ObjectiveOptions {
  readonly kind: "causal" | "prefix" | "span";
  /** Share of tokens that are masked (span). */
  readonly noiseDensity: number;
  /** Mean length of a masked span, in tokens (span). */
  readonly meanSpanLength: number;
}

/** What an objective knows of the rows that it is for. */
export interface ObjectiveContext {
  readonly architecture: Architecture;
  readonly objective: ObjectiveOptions;
  /** Columns of a decoder's row, T, and of an encoder's. */
  readonly seqLen: number;
}

/** What a window of text becomes, whatever the architecture: some tokens are given, those after them are predicted. */
export interface Example {
  /** (n) */
  readonly tokens: TokenArray;
  /** Tokens at the start that are given. 0: none, so that each but the first is predicted from those before it. */
  readonly given: number;
}

/** A rule that makes examples from windows of text. */
export interface Objective {
  /** Tokens of text that a whole row takes, W; at least 2, or a row is too short for the objective. */
  readonly windowLength: number;
  /**
   * @param window (2 to W) the last one of a text may be short
   * @param draw whole numbers in [0, below), see `drawer`
   */
  example(window: TokenArray, draw: (below: number) => number): Example;
}

const OBJECTIVES: Readonly<
  Record<ObjectiveOptions["kind"], (context: ObjectiveContext, tokens: ObjectiveTokens) => Objective>
> = { causal, prefix, span };

/** The objective that a config asks for. */
export function createObjective(context: ObjectiveContext, vocabulary: Vocabulary): Objective {
  return OBJECTIVES[context.objective.kind](context, objectiveTokens(vocabulary));
}
