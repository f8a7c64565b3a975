import { UserError } from "../errors.ts";
import type { OptimizerConfig } from "./schema.ts";

/** How an optimizer makes a step of a gradient, with every number decided. */
export type UpdateRule = AdamWRule | AdafactorRule;

interface AdamWRule {
  readonly kind: "adamw";
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

interface AdafactorRule extends Omit<AdamWRule, "kind" | "beta2"> {
  readonly kind: "adafactor";
  /** null: 1 - step^-0.8. */
  readonly beta2: number | null;
  readonly scaleParameter: boolean;
}

/**
 * Fills in the numbers that depend on the kind of optimizer.
 *
 * @throws UserError for an option that this kind lacks
 */
export function deriveUpdate(optimizer: OptimizerConfig): UpdateRule {
  const { kind, beta1, beta2, eps, weightDecay, scaleParameter } = optimizer;
  if (kind === "adafactor") {
    return {
      kind,
      beta1: beta1 ?? 0,
      beta2,
      eps: eps ?? 1e-30,
      weightDecay,
      scaleParameter: scaleParameter ?? true,
    };
  }
  if (scaleParameter !== null) {
    throw new UserError(
      `optimizer.scaleParameter is ${scaleParameter}, but adamw's steps don't depend on the size of the weights; ` +
        "expected null, or optimizer.kind=adafactor",
    );
  }
  return { kind, beta1: beta1 ?? 0.9, beta2: beta2 ?? 0.99, eps: eps ?? 1e-8, weightDecay };
}
