/** How the next token is chosen. */
export interface Sampling {
  /** Divides the logits: below 1 likely tokens become likelier, 0 always takes the likeliest. */
  readonly temperature: number;
  /** Only the k likeliest tokens; null: all. */
  readonly topK: number | null;
  /** Only the fewest likeliest tokens whose probabilities add up to at least this. */
  readonly topP: number;
}

/**
 * Draws a token: temperature, then top-k, then top-p on what top-k has left (Holtzman et al. 2020, "The curious case of
 * neural text degeneration"). Equally likely tokens rank by id, the smallest first. Computed in f64.
 *
 * @param logits (V)
 * @param u uniform in [0, 1): the tokens that are left share the interval in the order of their ids
 * @returns a token id; a function of the arguments alone
 * @throws RangeError if a logit is not finite
 */
export function sampleToken(logits: Float32Array, { temperature, topK, topP }: Sampling, u: number): number {
  const largest = likeliest(logits);
  if (temperature === 0) return largest;
  const weight = (logit: number) => Math.exp((logit - logits[largest]) / temperature);
  const kept = likeliestFew(logits, topK ?? logits.length, topP, weight);
  const weights = kept.map((id) => weight(logits[id]));
  const target = u * sum(weights);
  let below = 0;
  for (let i = 0; i < kept.length; i++) {
    below += weights[i];
    if (target < below) return kept[i];
  }
  return largest; // where rounding makes u * sum the whole sum
}

/** The id of the largest logit; the smallest of equals. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    if (!Number.isFinite(logits[id])) throw new RangeError(`The logit of token ${id} is ${logits[id]}`);
    if (logits[id] > logits[best]) best = id;
  }
  return best;
}

/** The ids that top-k and top-p leave, ascending. */
function likeliestFew(
  logits: Float32Array,
  topK: number,
  topP: number,
  weight: (logit: number) => number,
): number[] {
  if (topK >= logits.length && topP >= 1) return Array.from(logits.keys());
  const sorted = logits.toSorted().reverse().subarray(0, topK); // (k) descending
  const count = topP >= 1 ? sorted.length : nucleusSize(Array.from(sorted, weight), topP);
  const least = sorted[count - 1];
  let ties = count - sorted.subarray(0, count).findIndex((logit) => logit === least); // that are still to be taken
  const kept: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (logits[id] > least || (logits[id] === least && ties-- > 0)) kept.push(id);
  }
  return kept;
}

/** How many of the weights, from the first, make up the share; at least one. */
function nucleusSize(weights: readonly number[], share: number): number {
  const wanted = share * sum(weights);
  let total = 0;
  const last = weights.findIndex((weight) => (total += weight) >= wanted);
  return last < 0 ? weights.length : last + 1;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
