/** One process of `bench/allreduce.ts`: the same program in each; member 0 prints a JSON line for each size. */
import { HEADER_BYTES } from "../src/net/link/frame.ts";
import { enterGroup, type Place } from "./_groupNode.ts";
import { FRAME_BYTES, type RawPair } from "./_rawPair.ts";

export interface NodeArguments extends Place {
  /** Bytes of the arrays, in order. */
  readonly sizes: readonly number[];
}

/** Milliseconds, each a median. */
export interface NodeResult {
  readonly bytes: number;
  readonly ours: number;
  readonly raw: number;
  /** There and back between all pairs at once. */
  readonly roundTrip: number;
  /** There and back between two members, while the others wait. */
  readonly quietRoundTrip: number;
}

const [MIN_REPEATS, MAX_REPEATS] = [5, 200];

const { sizes, ...place }: NodeArguments = JSON.parse(Deno.args[0]);
const { self } = place;
const { raws, reduce, exchange, medianTimes, leave } = await enterGroup(place, Math.max(...sizes) / 4);

for (const bytes of sizes) {
  const length = bytes / 4;
  const repeats = Math.max(MIN_REPEATS, Math.min(MAX_REPEATS, Math.floor(2 ** 28 / bytes)));
  const array = new Uint8Array(HEADER_BYTES + bytes).fill(1);
  const frame = [Math.min(bytes, FRAME_BYTES)];
  /** A frame to each, and an answer to whatever comes. */
  const thereAndBack = async (pair: RawPair) => {
    await pair.exchange(frame, 1, array);
    await pair.exchange(frame, 1, array);
  };
  const times = await medianTimes(repeats, {
    raw: () => exchange(length, array),
    ours: (isWarmUp) => reduce(length, isWarmUp),
    roundTrip: () => Promise.all([...raws.values()].map(thereAndBack)),
    quietRoundTrip: async () => {
      const partner = self < 2 ? raws.get(1 - self) : undefined;
      if (self === 0) await partner?.exchange(frame, 1, array);
      else {
        await partner?.exchange([], 1, array);
        await partner?.exchange(frame, 0, array);
      }
    },
  });
  if (self === 0) console.log(JSON.stringify({ bytes, ...times } satisfies NodeResult));
}
await leave();
