import { floatTensor, idTensor, makeCase, type OpCase } from "./types.ts";

/** The keys that query i of a row of T queries and S keys sees: from and to (exclusive). */
type Mask = (b: number, i: number, S: number) => [number, number];

const masks = {
  causal: (_b, i) => [0, i + 1],
  /** A prefix whose tokens see one another, another one in each row. */
  prefix: (b, i, S) => [0, Math.max(i + 1, Math.ceil(S / (b + 2)))],
  /** Documents of 1, 2, ... up to 23 tokens and again, behind one another. */
  packed: (_b, i) => [documentStart(i), i + 1],
  /** All but the padding at the end, a longer one in each row. */
  padded: (b, _i, S) => [0, Math.max(1, S - 3 * b - 1)],
} as const satisfies Record<string, Mask>;

function documentStart(i: number): number {
  let [start, length] = [0, 1];
  while (start + length <= i) [start, length] = [start + length, length % 23 + 1];
  return start;
}

interface AttentionCase {
  readonly B: number;
  readonly T: number;
  readonly NH: number;
  readonly HS: number;
  /** Default: NH. */
  readonly NK?: number;
  /** Keys of another stack: queries and keys come from different tensors. */
  readonly S?: number;
  /** Default: causal. */
  readonly mask?: keyof typeof masks;
  readonly window?: number;
  readonly bias?: "alibi" | "t5" | "none";
  /** Default: 1 / sqrt(HS). */
  readonly scale?: number;
  /** Of dropout on the weights. */
  readonly rate?: number;
  /** Of q, k and v. */
  readonly std?: number;
  readonly sizes?: OpCase["sizes"];
}

const specs: readonly AttentionCase[] = [
  { B: 1, T: 1, NH: 1, HS: 1 },
  { B: 2, T: 2, NH: 1, HS: 3 },
  { B: 1, T: 17, NH: 3, HS: 1 },
  { B: 3, T: 17, NH: 2, HS: 8 },
  { B: 1, T: 65, NH: 2, HS: 16 },
  { B: 2, T: 65, NH: 1, HS: 33 },
  { B: 1, T: 33, NH: 1, HS: 64 },
  { B: 1, T: 17, NH: 2, HS: 128 },
  { B: 1, T: 35, NH: 1, HS: 256 },
  { B: 1, T: 130, NH: 2, HS: 8 },
  { B: 1, T: 130, NH: 1, HS: 33 },
  { B: 2, T: 17, NH: 6, NK: 3, HS: 8 },
  { B: 2, T: 17, NH: 5, NK: 1, HS: 16 },
  { B: 1, T: 70, NH: 2, HS: 16, std: 3 }, // scores that need their maximum subtracted
  { B: 2, T: 17, NH: 6, NK: 3, HS: 8, rate: 0.1 },
  { B: 1, T: 65, NH: 2, HS: 33, rate: 0.5 },
  { B: 2, T: 17, NH: 2, HS: 8, window: 1 },
  { B: 2, T: 67, NH: 2, HS: 8, window: 5 },
  { B: 1, T: 200, NH: 2, NK: 1, HS: 5, window: 64 },
  { B: 1, T: 203, NH: 1, HS: 8, window: 70, rate: 0.2 },
  { B: 2, T: 131, NH: 2, HS: 8, mask: "packed" },
  { B: 1, T: 200, NH: 2, HS: 8, mask: "packed", window: 7, bias: "alibi" },
  { B: 2, T: 67, NH: 2, HS: 8, mask: "prefix" },
  { B: 2, T: 131, NH: 3, HS: 5, mask: "prefix", bias: "alibi" },
  { B: 2, T: 130, NH: 2, NK: 1, HS: 8, mask: "prefix", bias: "t5" },
  { B: 2, T: 67, NH: 2, HS: 8, bias: "alibi" },
  { B: 1, T: 70, NH: 2, HS: 8, bias: "t5", rate: 0.1 },
  { B: 2, T: 67, NH: 2, HS: 8, mask: "padded", bias: "t5", scale: 1 },
  { B: 2, T: 131, NH: 2, HS: 3, mask: "padded" },
  { B: 2, T: 3, NH: 2, HS: 8, S: 17, mask: "padded" },
  { B: 2, T: 67, NH: 4, NK: 2, HS: 8, S: 130, mask: "padded", scale: 1 },
  { B: 1, T: 130, NH: 1, HS: 33, S: 65, mask: "padded", rate: 0.1 },
  { B: 2, T: 128, NH: 4, HS: 32, sizes: "model" },
  { B: 2, T: 128, NH: 4, NK: 2, HS: 32, rate: 0.1, sizes: "model" },
];

const REACH = 20;
const BUCKETS = 11;

export const attentionCases: readonly OpCase[] = specs.map(attentionCase);

function attentionCase(spec: AttentionCase): OpCase {
  const { B, T, NH, HS, NK = NH, S, mask = "causal", window = 0, bias = "none", rate = 0, std = 1 } = spec;
  const map = (value: number) => std * value;
  const span = (index: number) => {
    const [row, end] = [Math.floor(index / 2), index % 2];
    return masks[mask](Math.floor(row / T), row % T, S ?? T)[end];
  };
  const tensors = [
    ...(S === undefined
      ? [floatTensor("qkv", [B, T, (NH + 2 * NK) * HS], { map })]
      : [floatTensor("q", [B, T, NH * HS], { map }), floatTensor("kv", [B, S, 2 * NK * HS], { map })]),
    idTensor("spans", [B, T, 2], 1, (_id, index) => span(index)),
    ...(rate > 0 ? [idTensor("sampleIds", [B], 2 ** 31)] : []),
    ...(bias === "alibi" ? [floatTensor("slopes", [NH], { grad: false, map: Math.abs })] : []),
    ...(bias === "t5"
      ? [
        floatTensor("table", [BUCKETS, NH]),
        // Runs of neighbouring distances share a bucket.
        idTensor("buckets", [2 * REACH + 1], 1, (_id, index) => Math.floor(index / 4)),
      ]
      : []),
  ];
  const options = {
    numHeads: NH,
    numKvHeads: NK,
    headDim: HS,
    causal: mask === "causal" || mask === "packed",
    window,
    scale: spec.scale ?? 1 / Math.sqrt(HS),
    rate,
    seed: 1234,
    step: 17,
    site: 5,
  };
  const sizes = `B${B} T${T}${S === undefined ? "" : ` S${S}`} NH${NH} NK${NK} HS${HS}`;
  const details = [
    mask === "causal" ? "" : mask,
    window ? `window ${window}` : "",
    bias === "none" ? "" : bias,
    spec.scale === undefined ? "" : `scale ${spec.scale}`,
    rate ? `rate ${rate}` : "",
    std === 1 ? "" : `std ${std}`,
  ].filter(Boolean);
  return makeCase("attention", [sizes, ...details].join(" "), options, tensors, spec.sizes);
}
