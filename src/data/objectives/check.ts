import { UserError } from "../../errors.ts";
import type { PackingOptions } from "../packing.ts";
import { type Architecture, createObjective, type ObjectiveOptions } from "./objective.ts";
import { objectiveVocabSize, type Vocabulary } from "./vocabulary.ts";

/** What of a model's config an objective depends on. */
export interface ObjectiveModel {
  readonly architecture: Architecture;
  readonly seqLen: number;
  /** Rows of the embedding. null: as many as are needed. */
  readonly vocabSize: number | null;
}

/**
 * Do model, objective and packing make sense together?
 *
 * @param vocabulary the tokenizer's; null: not known yet, so that model.vocabSize is not looked at
 * @throws UserError that says why not
 */
export function checkObjective(
  model: ObjectiveModel,
  objective: ObjectiveOptions,
  packing: PackingOptions,
  vocabulary: Vocabulary | null,
): void {
  const { architecture, seqLen, vocabSize } = model;
  const { kind } = objective;
  const aModel = `${architecture === "encoderDecoder" ? "an" : "a"} ${architecture}`;
  if (packing.restartPositions && !packing.separate) {
    throw new UserError(
      "packing.restartPositions is true, but documents are not separate: set packing.separate to true, too",
    );
  }
  if (architecture === "nonCausalDecoder" && kind === "causal") {
    throw new UserError(
      "objective.kind is causal, but a nonCausalDecoder is for rows with a prefix: " +
        "set it to prefix or span, or model.architecture to causalDecoder",
    );
  }
  if (packing.separate && (kind !== "causal" || architecture !== "causalDecoder")) {
    throw new UserError(
      `packing.separate is true, but rows of ${aModel} with objective ${kind} are of one piece: ` +
        "set it to false, or train a causalDecoder with objective causal",
    );
  }
  const context = { architecture, objective, seqLen };
  if (createObjective(context, vocabulary ?? NO_TOKENS).windowLength < 2) {
    throw new UserError(
      `model.seqLen is ${seqLen}, expected at least ${shortest(context)} for objective ${kind} on ${aModel}`,
    );
  }
  if (vocabulary === null || vocabSize === null) return;
  const needed = objectiveVocabSize(vocabulary, context);
  if (vocabSize < needed) {
    const more = needed - vocabulary.vocabSize;
    throw new UserError(
      `model.vocabSize is ${vocabSize}, expected at least ${needed}: ${vocabulary.vocabSize} tokens of the tokenizer` +
        (more > 0 ? ` and ${more} more that objective ${kind} needs` : ""),
    );
  }
}

const NO_TOKENS: Vocabulary = { vocabSize: 0, endOfText: null };

/** The smallest seqLen with which two tokens of text fit a row. */
function shortest(context: Parameters<typeof createObjective>[0]): number {
  let seqLen = 1;
  while (createObjective({ ...context, seqLen }, NO_TOKENS).windowLength < 2) seqLen++;
  return seqLen;
}
