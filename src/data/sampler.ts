import { UserError } from "../errors.ts";
import { Stream, threefry2x32 } from "../random.ts";

/** Which part of the token stream each sample of a run is. Stateless: a sample's place is a function of its number. */
export interface Sampler {
  /** Samples in an epoch, n. */
  readonly windows: number;
  /** Index of the first token of sample s; its W tokens overlap the next window's by one. */
  start(sample: number): number;
}

/**
 * Cuts N tokens into n windows of W, and goes through them in another order each epoch: sample s is window
 * permutation(s mod n) of epoch floor(s / n). After epoch 0, which starts at token 0, the windows start at a phase in
 * [0, W - 1) that is drawn for the epoch, so that a token is met at other positions; n is the number that fits any phase.
 * Where N is too short for a phase (n would be 0), all epochs start at token 0.
 *
 * @param numTokens N
 * @param windowLength W, at least 2
 * @throws UserError if N < W: not one window fits
 */
export function createSampler(numTokens: number, windowLength: number, seed: number): Sampler {
  if (numTokens < windowLength) {
    throw new UserError(
      `The training text has ${numTokens} tokens, but a row takes ${windowLength}: ` +
        "lower model.seqLen, or give more text",
    );
  }
  const stride = windowLength - 1;
  const withPhase = Math.floor((numTokens - stride) / stride);
  const windows = Math.max(1, withPhase);
  return {
    windows,
    start(sample) {
      const epoch = Math.floor(sample / windows);
      const key = threefry2x32(seed, Stream.shuffle, epoch % 2 ** 32, Math.floor(epoch / 2 ** 32));
      const phase = epoch === 0 || withPhase === 0 ? 0 : threefry2x32(...key, 0, PHASE)[0] % stride;
      return phase + stride * permute(sample % windows, windows, key);
    },
  };
}

const ROUNDS = 8;
/** The second counter word of the phase; those of the Feistel rounds are smaller. */
const PHASE = ROUNDS;

/**
 * A keyed permutation of [0, n), n at most 2^52, without a table: a Feistel network over the next power of 4 with
 * threefry as its round function, walked along its cycle until it is back below n (Black and Rogaway 2002, "Ciphers
 * with arbitrary finite domains").
 */
export function permute(index: number, n: number, key: readonly [number, number]): number {
  let half = 1; // bits
  while (4 ** half < n) half++;
  const size = 2 ** half;
  let at = index;
  do {
    let left = Math.floor(at / size);
    let right = at % size;
    for (let round = 0; round < ROUNDS; round++) {
      const mixed = left ^ (threefry2x32(key[0], key[1], right, round)[0] >>> (32 - half));
      left = right;
      right = mixed;
    }
    at = left * size + right;
  } while (at >= n);
  return at;
}
