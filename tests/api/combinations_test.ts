import { assertEquals, assertThrows } from "@std/assert";
import { engineSpec } from "../../src/api/parts.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { objectiveVocabSize } from "../../src/data/objectives/vocabulary.ts";
import { bytesTokenizer } from "../../src/data/tokenizers/bytes.ts";
import { UserError } from "../../src/errors.ts";

/** What a run's engine is made for, from its settings alone. */
function specOf(overrides: readonly string[]) {
  const config = resolveConfig({ overrides: ["model.modelDim=24", "model.seqLen=9", ...overrides] });
  const { model: { architecture, seqLen }, objective } = config;
  const vocabulary = bytesTokenizer();
  const vocabSize = objectiveVocabSize(vocabulary, { architecture, seqLen, objective });
  return engineSpec(config, { vocabulary, vocabSize });
}

const ENCODER = "model.architecture=encoderDecoder";
const NON_CAUSAL = "model.architecture=nonCausalDecoder";
const PREFIX = "objective.kind=prefix";
const SPAN = "objective.kind=span";
const SEPARATE = "packing.separate=true";

const refused: [overrides: string[], message: string][] = [
  [
    ["model.modelDim=26"],
    "model.modelDim is 26, expected a multiple of model.numHeads (4), or model.headDim",
  ],
  [["model.numKvHeads=3"], "model.numHeads is 4, expected a multiple of model.numKvHeads (3)"],
  [["model.numKvHeads=8"], "model.numHeads is 4, expected a multiple of model.numKvHeads (8)"],
  [["model.headDim=257"], "model.headDim is 257, expected at most 256"],
  [
    ["model.modelDim=1028"],
    "model.modelDim / model.numHeads is 257, expected at most 256: at least 5 heads",
  ],
  [["model.numLayers=1001"], "model.numLayers is 1001, expected at most 1000"],
  [[ENCODER, "model.numEncoderLayers=1e9"], "model.numEncoderLayers is 1000000000, expected at most 1000"],

  [
    ["model.numEncoderLayers=2"],
    "model.numEncoderLayers is 2, but a causalDecoder has no encoder; " +
    "set it to null, or model.architecture to encoderDecoder",
  ],
  [
    [NON_CAUSAL, PREFIX, "model.numEncoderLayers=2"],
    "model.numEncoderLayers is 2, but a nonCausalDecoder has no encoder; " +
    "set it to null, or model.architecture to encoderDecoder",
  ],
  [
    [ENCODER, "model.parallelResidual=true"],
    "model.parallelResidual is true, but in an encoderDecoder cross-attention comes between attention and MLP; " +
    "set it to false",
  ],

  [
    ["model.positions=sinusoidal", "model.modelDim=15", "model.numHeads=3"],
    "model.modelDim is 15, expected an even number for sinusoidal positions",
  ],
  [
    ["model.positions=rotary", "model.headDim=5"],
    "model.rotaryFraction is 1, which rotates 5 of a head's 5 dimensions; expected an even number of at least 2",
  ],
  [
    ["model.positions=rotaryInterleaved", "model.rotaryFraction=0.1"],
    "model.rotaryFraction is 0.1, which rotates 0 of a head's 6 dimensions; expected an even number of at least 2",
  ],
  [["model.positions=t5", "model.t5NumBuckets=1"], "model.t5NumBuckets is 1, expected at least 2"],
  [
    [ENCODER, "model.positions=t5", "model.t5NumBuckets=7"],
    "model.t5NumBuckets is 7, expected an even number of at least 4: half are for keys ahead",
  ],
  [
    ["model.positions=t5", "model.t5MaxDistance=16"],
    "model.t5MaxDistance is 16, expected more than half of model.t5NumBuckets (32)",
  ],
  [
    ["model.positions=t5", "model.t5MaxDistance=1e9"],
    "model.t5MaxDistance is 1000000000, expected at most 1048576",
  ],

  [
    ["model.window=4"],
    "model.window is 4, but model.attention is dense; set it to null, or model.attention to banded or alternating",
  ],
  [
    ["model.attention=banded"],
    "model.window is null, expected the number of keys that a query of banded attention sees",
  ],
  [
    ["model.attention=alternating", "model.window=4", "model.numLayers=1"],
    "model.attention is alternating, but a single layer is dense; expected at least 2 layers, or banded",
  ],
  ...["banded", "alternating"].map((attention): [string[], string] => [
    [NON_CAUSAL, PREFIX, `model.attention=${attention}`, "model.window=4"],
    `model.attention is ${attention}, but a nonCausalDecoder's prefix sees all of itself; expected dense`,
  ]),

  [
    [NON_CAUSAL],
    "objective.kind is causal, but a nonCausalDecoder is for rows with a prefix: " +
    "set it to prefix or span, or model.architecture to causalDecoder",
  ],
  [
    ["packing.restartPositions=true"],
    "packing.restartPositions is true, but documents are not separate: set packing.separate to true, too",
  ],
  ...([
    [[PREFIX], "a causalDecoder", "prefix"],
    [[SPAN], "a causalDecoder", "span"],
    [[ENCODER], "an encoderDecoder", "causal"],
    [[ENCODER, PREFIX], "an encoderDecoder", "prefix"],
    [[NON_CAUSAL, SPAN], "a nonCausalDecoder", "span"],
  ] as const).map(([settings, aModel, kind]): [string[], string] => [
    [...settings, SEPARATE],
    `packing.separate is true, but rows of ${aModel} with objective ${kind} are of one piece: ` +
    "set it to false, or train a causalDecoder with objective causal",
  ]),
  [
    [PREFIX, "model.seqLen=1"],
    "model.seqLen is 1, expected at least 2 for objective prefix on a causalDecoder",
  ],
  [
    [SPAN, "model.seqLen=4"],
    "model.seqLen is 4, expected at least 5 for objective span on a causalDecoder",
  ],
  [
    [ENCODER, SPAN, "model.seqLen=2"],
    "model.seqLen is 2, expected at least 3 for objective span on an encoderDecoder",
  ],
  [["model.vocabSize=255"], "model.vocabSize is 255, expected at least 256: 256 tokens of the tokenizer"],
  [
    [SPAN, "model.vocabSize=256"],
    "model.vocabSize is 256, expected at least 259: 256 tokens of the tokenizer and 3 more that objective span needs",
  ],
  [
    [ENCODER, "model.vocabSize=256"],
    "model.vocabSize is 256, expected at least 257: 256 tokens of the tokenizer and 1 more that objective causal needs",
  ],
];

for (const [overrides, message] of refused) {
  Deno.test(`a run with ${overrides.join(" ")} is refused in one line`, () => {
    assertEquals(assertThrows(() => specOf(overrides), UserError).message, message);
  });
}

/** Unusual, but meant: what belongs to a choice waits for it, and a window may be wider than a row. */
const accepted = [
  ["model.rotaryFraction=0.1", "model.t5NumBuckets=1", "objective.noiseDensity=0.9"],
  ["model.attention=banded", "model.window=100"],
  ["model.attention=alternating", "model.window=1"],
  ["model.positions=rotary", "model.headDim=10", "model.rotaryFraction=0.45"],
  ["model.positions=t5", "model.t5NumBuckets=7", "model.t5MaxDistance=4"],
  [ENCODER, "model.attention=banded", "model.window=2"],
  [ENCODER, SPAN, "model.seqLen=3", "model.numEncoderLayers=1"],
  [NON_CAUSAL, SPAN],
  [SEPARATE, "packing.restartPositions=true", "model.positions=alibi"],
  ["model.headDim=1", "model.numKvHeads=1"],
];

for (const overrides of accepted) {
  Deno.test(`a run with ${overrides.join(" ")} is not refused`, () => void specOf(overrides));
}
