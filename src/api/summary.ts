/** What people want to know of a run beside its results. */
import type { Dataset } from "../data/dataset.ts";
import { ngramBitsPerByte } from "../data/ngramBaseline.ts";
import type { EngineReport } from "../engine/engine.ts";

/** Numbers in an engine's weights. */
export function countParameters({ parameters }: Pick<EngineReport, "parameters">): number {
  return parameters.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

/** What counting byte sequences comes to on the text that a model is held against. */
export interface CountBaseline {
  /** Bytes that are looked back at. */
  readonly order: number;
  readonly bitsPerByte: number;
}

const ORDERS = [2, 3, 4];

/** Count models of the training text on the held-out text; see ngramBaseline.ts. Empty if nothing is held out. */
export function countBaselines(
  dataset: Pick<Dataset, "validationTokens" | "text">,
): CountBaseline[] {
  if (dataset.validationTokens === 0) return [];
  const bits = ngramBitsPerByte(dataset.text("train"), dataset.text("validation"), ORDERS);
  return ORDERS.map((order, i) => ({ order, bitsPerByte: bits[i] }));
}
