import { floatTensor, makeCase, type OpCase, type TensorSpec } from "./types.ts";

const USUAL = {
  learningRate: 0.3, // so that a wrong step shows
  beta1: 0,
  eps: 1e-30,
  weightDecay: 0.1,
  clip: 1,
  step: 7,
  count: 37,
  scaleParameter: true,
};

/** A gradient that is not clipped, and smaller than those before it: the update's root mean square is below 1. */
const SMALL = { ...USUAL, count: 1, clip: 0 };

export const adafactorCases: readonly OpCase[] = [
  adafactorCase("1x1", [1, 1], USUAL),
  adafactorCase("3x65", [3, 65], USUAL),
  adafactorCase("65x3 first step", [65, 3], { ...USUAL, step: 1 }),
  adafactorCase("65x3 small", [65, 3], SMALL, { moment: 3 }),
  adafactorCase("130x257 beta1 0.9", [130, 257], { ...USUAL, beta1: 0.9 }),
  adafactorCase("130x256 small, beta2 0.95", [130, 256], { ...SMALL, beta2: 0.95 }, { moment: 3 }),
  adafactorCase("7x64 not scaled", [7, 64], { ...SMALL, scaleParameter: false, beta1: 0.5 }),
  adafactorCase("2051x3 late", [2051, 3], { ...USUAL, step: 100000 }),
  adafactorCase("5x8 eps 0.1, no decay", [5, 8], { ...SMALL, eps: 0.1, weightDecay: 0 }),
  adafactorCase("5x6 zeros at the first step", [5, 6], { ...USUAL, step: 1 }, { std: 0 }),
  adafactorCase("5x7 small weights", [5, 7], USUAL, { weights: 1e-5 }), // which move as if they were larger
  adafactorCase("n1", [1], USUAL),
  adafactorCase("n65 first step", [65], { ...USUAL, step: 1 }),
  adafactorCase("n256 beta1 0.9", [256], { ...USUAL, beta1: 0.9, beta2: 0.999 }),
  adafactorCase("n20003 small", [20003], { ...SMALL, beta1: 0.9, scaleParameter: false }, { moment: 3 }),
  adafactorCase("1024x128", [1024, 128], { ...USUAL, count: 512 }, { sizes: "model" }),
];

interface Drawing {
  /** Standard deviation of parameter and gradient. */
  readonly std?: number;
  /** Of the parameter alone. */
  readonly weights?: number;
  /** Mean of the second moment: that of a matrix's rows and that of its columns are the same. */
  readonly moment?: number;
  readonly sizes?: OpCase["sizes"];
}

function adafactorCase(
  name: string,
  shape: readonly number[],
  options: typeof USUAL & { beta2?: number },
  { std = 1, weights = std, moment = 1e-4, sizes }: Drawing = {},
): OpCase {
  const normal = (name: string, std: number) =>
    floatTensor(name, shape, { grad: false, map: (value) => std * value });
  const [rows, columns] = shape;
  return makeCase("adafactor", name, options, [
    normal("param", weights),
    normal("grad", std),
    ...(columns === undefined
      ? [squares("moment2", rows, moment)]
      : [squares("moment2.rows", rows, moment), squares("moment2.columns", columns, moment)]),
    ...(options.beta1 > 0 ? [normal("moment1", 0.1)] : []),
  ], sizes);
}

function squares(name: string, count: number, mean: number): TensorSpec {
  const tensor = floatTensor(name, [count], { grad: false, map: (value) => 0.1 + value ** 2 });
  const draw = (sub: number) => {
    const values = Float32Array.from(tensor.draw(sub));
    const scale = mean * count / values.reduce((sum, value) => sum + value, 0);
    return values.map((value) => scale * value);
  };
  return { ...tensor, draw };
}
