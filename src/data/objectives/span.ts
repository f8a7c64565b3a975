/**
 * Span corruption (Raffel et al. 2020, "Exploring the limits of transfer learning"; the statistics are those of
 * `random_spans_noise_mask` and `random_spans_helper` in its code). Masked spans of the text are replaced by sentinels:
 *
 *     text     Thank you for inviting me to your party last week
 *     inputs   Thank you <0> me to your party <1> week <end>
 *     targets  <0> for inviting <1> last <2>
 *
 * An encoder reads the inputs and the decoder writes the targets; a decoder alone has both in one row, the targets
 * behind the inputs (Wang et al. 2022, "What language model architecture ..."). Every window begins with a span that
 * is kept and ends with one that is masked.
 */
import type { Objective, ObjectiveContext, ObjectiveOptions } from "./objective.ts";
import type { ObjectiveTokens } from "./vocabulary.ts";

export function span(context: ObjectiveContext, { end, sentinel }: ObjectiveTokens): Objective {
  return {
    windowLength: spanWindow(context),
    example(window, draw) {
      const { length } = window;
      const { noise, spans } = spanCounts(length, context.objective);
      const kept = segments(length - noise, spans, draw); // (spans) lengths
      const masked = segments(noise, spans, draw); // (spans) lengths
      const { inputs: given, targets } = exampleLengths(length, context.objective);
      const tokens = new Int32Array(given + targets); // inputs, then targets
      let [from, input, target] = [0, 0, given];
      for (let i = 0; i < spans; i++) {
        const mask = from + kept[i];
        const next = mask + masked[i];
        tokens.set(window.subarray(from, mask), input);
        tokens[input + kept[i]] = tokens[target] = sentinel(i);
        tokens.set(window.subarray(mask, next), target + 1);
        input += kept[i] + 1;
        target += masked[i] + 1;
        from = next;
      }
      tokens[input] = end;
      tokens[target] = sentinel(spans);
      return { tokens, given };
    },
  };
}

/** How many sentinels a row can need: one for each masked span, and one that ends the targets. */
export function sentinelCount(context: ObjectiveContext): number {
  return spanCounts(spanWindow(context), context.objective).spans + 1;
}

/**
 * Tokens of text that become a whole row, the most with which inputs and targets fit (512 for T5's encoder: 568). 0: not
 * even two tokens do.
 */
function spanWindow({ architecture, seqLen, objective }: ObjectiveContext): number {
  const fits = (length: number) => {
    const { inputs, targets } = exampleLengths(length, objective);
    // The last token of a decoder's row is a target alone.
    return architecture === "encoderDecoder"
      ? inputs <= seqLen && targets <= seqLen
      : inputs + targets - 1 <= seqLen;
  };
  if (!fits(2)) return 0;
  let length = 2;
  while (fits(length + 1)) length++; // both lengths rise with the text's
  return length;
}

function exampleLengths(length: number, options: ObjectiveOptions): { inputs: number; targets: number } {
  const { noise, spans } = spanCounts(length, options);
  return { inputs: length - noise + spans + 1, targets: noise + spans + 1 };
}

/** How many of `length` tokens are masked, and in how many spans; at least one of each, and one token is kept for each. */
function spanCounts(length: number, { noiseDensity, meanSpanLength }: ObjectiveOptions) {
  const noise = Math.min(Math.max(roundHalfEven(length * noiseDensity), 1), length - 1);
  const spans = Math.min(Math.max(roundHalfEven(noise / meanSpanLength), 1), length - noise);
  return { noise, spans };
}

/** Rounds as Python and TensorFlow do. */
function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  return x - below === 0.5 ? below + below % 2 : Math.round(x);
}

/**
 * Cuts `items` into `count` segments that are not empty, every such cut being as likely: the cuts are a random subset
 * of the items - 1 places between them, by Floyd's rule (Bentley and Floyd 1987, "A sample of brilliance").
 *
 * @returns (count) lengths
 */
function segments(items: number, count: number, draw: (below: number) => number): number[] {
  const cuts = new Set<number>();
  for (let last = items - count + 1; last < items; last++) {
    const place = 1 + draw(last); // 1 to last
    cuts.add(cuts.has(place) ? last : place);
  }
  const ends = [...cuts].sort((a, b) => a - b).concat(items);
  return ends.map((end, i) => end - (i > 0 ? ends[i - 1] : 0));
}
