import { floatTensor, idTensor, makeCase, type OpCase } from "./types.ts";

interface RotaryCase {
  readonly B: number;
  readonly T: number;
  /** Heads that are turned. */
  readonly NH: number;
  /** Heads behind them. */
  readonly rest?: number;
  readonly HS: number;
  /** Dimensions of a head that are turned. Default: HS. */
  readonly D?: number;
  readonly interleaved?: boolean;
  /** Places start again after this many tokens. Default: T. */
  readonly restart?: number;
  readonly sizes?: OpCase["sizes"];
}

const specs: readonly RotaryCase[] = [
  { B: 1, T: 1, NH: 1, HS: 2 },
  { B: 2, T: 3, NH: 1, rest: 2, HS: 3, D: 2 },
  { B: 3, T: 17, NH: 5, rest: 1, HS: 8 }, // fours
  { B: 1, T: 65, NH: 2, HS: 16, D: 4, restart: 7 }, // a quarter of each head; half of it is no four
  { B: 2, T: 65, NH: 3, rest: 3, HS: 33, D: 32 },
  { B: 1, T: 17, NH: 3, rest: 1, HS: 256, D: 128, restart: 5 },
  { B: 1, T: 65, NH: 1, HS: 256 }, // a table of several windows where bindings are small
].flatMap((spec) => [spec, { ...spec, interleaved: true }]);

export const rotaryCases: readonly OpCase[] = [
  ...specs,
  { B: 2, T: 128, NH: 8, rest: 4, HS: 32, sizes: "model" } as const,
].map(rotaryCase);

function rotaryCase(spec: RotaryCase): OpCase {
  const { B, T, NH, rest = 0, HS, D = HS, interleaved = false, restart = T, sizes } = spec;
  const tensors = [
    floatTensor("x", [B, T, (NH + rest) * HS]),
    idTensor("places", [B * T], restart, (_, m) => m % T % restart),
    // Any numbers will do for cosines and sines: the backward is the transpose of what they make.
    floatTensor("table", [restart, D], { grad: false }),
  ];
  const name = `B${B} T${T} NH${NH}+${rest} HS${HS} D${D}${interleaved ? " interleaved" : ""}`;
  return makeCase("rotary", name, { numHeads: NH, headDim: HS, interleaved }, tensors, sizes);
}
