import { floatTensor, idTensor, makeCase, type OpCase } from "./types.ts";

const SITE = { seed: 1234, step: 17, site: 5 };

export const dropoutCases: readonly OpCase[] = [
  dropoutCase(1, 1, 1, { rate: 0.5, ...SITE }),
  dropoutCase(3, 5, 7, { rate: 0.1, ...SITE }), // samples of odd length: words don't pair up across them
  dropoutCase(2, 17, 3, { rate: 0.9, ...SITE }),
  dropoutCase(2, 3, 65, { rate: 0, ...SITE }), // keeps everything
  dropoutCase(5, 13, 131, { rate: 0.25, ...SITE, site: 0 }),
  dropoutCase(2, 2, 33, { rate: 0.5, seed: 0xffffffff, step: 0x7fffffff, site: 0xffff }),
  dropoutCase(2, 128, 128, { rate: 0.1, ...SITE }, "model"),
];

interface DropoutOptions extends Record<string, number> {
  rate: number;
  seed: number;
  step: number;
  site: number;
}

function dropoutCase(
  B: number,
  T: number,
  C: number,
  options: DropoutOptions,
  sizes?: OpCase["sizes"],
): OpCase {
  const tensors = [floatTensor("x", [B, T, C]), idTensor("sampleIds", [B], 2 ** 31)];
  const name = `B${B} T${T} C${C} rate ${options.rate} seed ${options.seed} site ${options.site}`;
  return makeCase("dropout", name, { ...options }, tensors, sizes);
}
