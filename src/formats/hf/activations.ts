import { z } from "zod";
import type { ModelSpec } from "../../config/deriveModel.ts";

type Activation = ModelSpec["activation"];

/** transformers' name to ours: `gelu` there is the exact form, `gelu` here the tanh form that GPT-2 uses. */
const ACTIVATIONS = {
  gelu_new: "gelu",
  gelu_fast: "gelu",
  gelu_pytorch_tanh: "gelu",
  gelu: "geluErf",
  relu: "relu",
  silu: "silu",
  swish: "silu",
} as const;

type PlainActivation = (typeof ACTIVATIONS)[keyof typeof ACTIVATIONS];

/** A function to the MLP that multiplies a projection by it. */
const GATED = { gelu: "gegluTanh", geluErf: "geglu", relu: "reglu", silu: "swiglu" } as const;

const NAMES: Readonly<Record<PlainActivation, string>> = {
  gelu: "gelu_new",
  geluErf: "gelu",
  relu: "relu",
  silu: "silu",
};

/** Ours that transformers has without a gate, and with one. */
export const PLAIN_ACTIVATIONS: readonly Activation[] = Object.values(ACTIVATIONS);
export const GATED_ACTIVATIONS: readonly Activation[] = Object.values(GATED);

/** Reads transformers' name of a function as ours. */
export const activationSchema = z.enum(Object.keys(ACTIVATIONS) as [keyof typeof ACTIVATIONS])
  .transform((name) => ACTIVATIONS[name]);

/** The gated MLP with this function. */
export function gatedBy(activation: z.infer<typeof activationSchema>): Activation {
  return GATED[activation];
}

/** transformers' name of an activation or, of a gated one, of the function in its gate. */
export function activationName(activation: Activation): string {
  const plain = (Object.keys(NAMES) as PlainActivation[])
    .find((name) => name === activation || GATED[name] === activation);
  if (plain === undefined) throw new Error(`transformers has no activation ${activation}`);
  return NAMES[plain];
}
