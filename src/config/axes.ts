/**
 * The axes of a model whose values are kinds: one table each, from which the schema, derived sizes, ops, cases, formats,
 * the tests' grid and the benchmark take their values. What a kind computes is in `ops/activation.ts`,
 * `model/positions.ts` and their shaders; what the others need to know of it is here.
 */

/** The values of an axis. */
export function namesOf<Name extends string>(table: Readonly<Partial<Record<Name, unknown>>>): Name[] {
  return Object.keys(table) as Name[];
}

/** A function of one number, of `shaders/activation.wgsl`. */
export type Curve = "gelu" | "geluErf" | "relu" | "silu";

export interface ActivationFacts {
  readonly curve: Curve;
  /** Does it gate one half of its input with the other, so that the MLP's first layer has 2 ffnDim rows? */
  readonly gated: boolean;
}

const activations = {
  gelu: { curve: "gelu", gated: false }, // tanh form: GPT-2, BLOOM
  geluErf: { curve: "geluErf", gated: false },
  relu: { curve: "relu", gated: false },
  silu: { curve: "silu", gated: false },
  swiglu: { curve: "silu", gated: true }, // Shazeer 2020; the gate is the second half, as in Megatron
  geglu: { curve: "geluErf", gated: true },
  gegluTanh: { curve: "gelu", gated: true }, // T5 1.1
  reglu: { curve: "relu", gated: true },
} satisfies Record<string, ActivationFacts>;

export type Activation = keyof typeof activations;
export const ACTIVATIONS: Readonly<Record<Activation, ActivationFacts>> = activations;

/** The settings of a model that kinds of positions look at. */
interface PositionSettings {
  readonly modelDim: number;
  readonly rotaryFraction: number;
  readonly t5NumBuckets: number;
  readonly t5MaxDistance: number;
  readonly architecture: string;
}

export interface PositionFacts {
  /** Settings of the model that mean something with this kind alone. */
  readonly settings: readonly ("rotaryBase" | "rotaryFraction" | "t5NumBuckets" | "t5MaxDistance")[];
  /** Is there a learned row for each place? Then none is known past seqLen. */
  readonly rowPerPlace: boolean;
  /** Which dimensions of a head turn together: those half the turned ones apart, or neighbours. null: none turn. */
  readonly pairs: "halves" | "neighbours" | null;
  /** What is wrong with its settings; null: nothing. */
  fault(model: PositionSettings, headDim: number): string | null;
}

const plain: PositionFacts = { settings: [], rowPerPlace: false, pairs: null, fault: () => null };

const rotary: PositionFacts = {
  ...plain,
  settings: ["rotaryBase", "rotaryFraction"],
  pairs: "halves",
  fault({ rotaryFraction }, headDim) {
    const turned = turnedDims(headDim, rotaryFraction);
    return turned >= 2 && turned % 2 === 0
      ? null
      : `model.rotaryFraction is ${rotaryFraction}, which rotates ${turned} of a head's ${headDim} dimensions; ` +
        "expected an even number of at least 2";
  },
};

/** There is a table with an entry for each distance. */
const MAX_T5_DISTANCE = 2 ** 20;

const positions = {
  none: plain,
  learned: { ...plain, rowPerPlace: true },
  sinusoidal: {
    ...plain,
    fault: ({ modelDim }) =>
      modelDim % 2 === 0
        ? null
        : `model.modelDim is ${modelDim}, expected an even number for sinusoidal positions`,
  },
  rotary,
  rotaryInterleaved: { ...rotary, pairs: "neighbours" },
  alibi: plain,
  t5: {
    ...plain,
    settings: ["t5NumBuckets", "t5MaxDistance"],
    fault({ t5NumBuckets, t5MaxDistance, architecture }) {
      const directions = architecture === "encoderDecoder" ? 2 : 1;
      if (t5NumBuckets < 2 * directions || t5NumBuckets % directions !== 0) {
        const expected = directions === 2
          ? "an even number of at least 4: half are for keys ahead"
          : "at least 2";
        return `model.t5NumBuckets is ${t5NumBuckets}, expected ${expected}`;
      }
      if (t5MaxDistance <= t5NumBuckets / 2) {
        return `model.t5MaxDistance is ${t5MaxDistance}, expected more than half of model.t5NumBuckets (${t5NumBuckets})`;
      }
      return t5MaxDistance <= MAX_T5_DISTANCE
        ? null
        : `model.t5MaxDistance is ${t5MaxDistance}, expected at most ${MAX_T5_DISTANCE}`;
    },
  },
} satisfies Record<string, PositionFacts>;

export type Positions = keyof typeof positions;
export const POSITIONS: Readonly<Record<Positions, PositionFacts>> = positions;

/** Self-attention of a decoder's layers, and which of them see only the last `window` keys. */
const attentions = {
  dense: { banded: () => false },
  banded: { banded: () => true },
  alternating: { banded: (layer) => layer % 2 === 1 }, // GPT-3
} satisfies Record<string, { banded(layer: number): boolean }>;

export type Attention = keyof typeof attentions;
export const ATTENTIONS: Readonly<Record<Attention, { banded(layer: number): boolean }>> = attentions;

/** The dimensions of a head that positions turn; 0 where they turn none. */
export function rotaryDim(
  { positions, rotaryFraction }: { readonly positions: Positions; readonly rotaryFraction: number },
  headDim: number,
): number {
  return POSITIONS[positions].pairs === null ? 0 : turnedDims(headDim, rotaryFraction);
}

/** Rounded down, as in GPT-NeoX. */
function turnedDims(headDim: number, rotaryFraction: number): number {
  return Math.floor(headDim * rotaryFraction);
}
