import { z } from "zod";
import { type Activation, ACTIVATIONS, type Curve, namesOf } from "../../config/axes.ts";

/** transformers' names of our functions, the first of them the one that is written: `gelu` there is the exact form. */
const NAMES: Readonly<Partial<Record<Curve, readonly string[]>>> = {
  gelu: ["gelu_new", "gelu_fast", "gelu_pytorch_tanh"],
  geluErf: ["gelu"],
  relu: ["relu"],
  silu: ["silu", "swish"],
};

const CURVES = new Map(namesOf(NAMES).flatMap((curve) => (NAMES[curve] ?? []).map((name) => [name, curve])));

/** Ours that transformers has without a gate, and with one. */
export const PLAIN_ACTIVATIONS = activations(false);
export const GATED_ACTIVATIONS = activations(true);

function activations(gated: boolean): readonly Activation[] {
  return namesOf(ACTIVATIONS).filter((name) =>
    ACTIVATIONS[name].gated === gated && ACTIVATIONS[name].curve in NAMES
  );
}

/** Reads transformers' name of a function as ours. */
export const activationSchema = z.enum([...CURVES.keys()]).transform((name) => CURVES.get(name)!);

/** The gated MLP with this function. */
export function gatedBy(curve: Curve): Activation {
  return GATED_ACTIVATIONS.find((name) => ACTIVATIONS[name].curve === curve)!;
}

/** transformers' name of an activation or, of a gated one, of the function in its gate. */
export function activationName(activation: Activation): string {
  const [name] = NAMES[ACTIVATIONS[activation].curve] ?? [];
  if (name === undefined) throw new Error(`transformers has no activation ${activation}`);
  return name;
}
