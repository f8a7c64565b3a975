import { z } from "zod";

/** Units in which a run measures its length; `s`, `m` and `h` are wall-clock time. */
export type AmountUnit = "steps" | "samples" | "tokens" | "s" | "m" | "h";

/** A number with its unit, such as `300 steps`, `2e9 tokens` or `10m`. */
export interface Amount {
  readonly value: number;
  readonly unit: AmountUnit;
}

const PATTERN = /^\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:e\+?[0-9]+)?)\s*(steps?|samples?|tokens?|s|m|h)?\s*$/i;

/** Parses `300`, `"300 steps"`, `"2e9tokens"` or `"10m"`; a bare number counts steps. Returns null if it is none of them. */
export function parseAmount(text: string | number): Amount | null {
  const match = PATTERN.exec(String(text));
  if (match === null) return null;
  const value = Number(match[1].replaceAll("_", ""));
  const word = (match[2] ?? "steps").toLowerCase();
  const unit = (word.length > 1 && !word.endsWith("s") ? word + "s" : word) as AmountUnit;
  return { value, unit };
}

function amountOf(units: readonly AmountUnit[], expected: string) {
  return z.union([z.string(), z.number()]).transform((text, context): Amount => {
    const amount = parseAmount(text);
    if (amount !== null && units.includes(amount.unit)) return amount;
    context.addIssue({ code: "custom", message: `expected ${expected}, found ${JSON.stringify(text)}` });
    return z.NEVER;
  });
}

/** Length of training: steps, samples or tokens. */
export const trainingAmount = amountOf(
  ["steps", "samples", "tokens"],
  'a number of steps, samples or tokens such as "300 steps" or "2e9 tokens"',
);

/** An interval: steps, samples, tokens, or wall-clock time. */
export const intervalAmount = amountOf(
  ["steps", "samples", "tokens", "s", "m", "h"],
  'an interval such as "100 steps", "1e6 tokens" or "10m"',
);
