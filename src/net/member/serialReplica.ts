import type { Replica } from "../replica.ts";

/**
 * The same replica, whose calls wait for each other: a snapshot for a newcomer comes between two parts of a
 * step.
 */
export function serialReplica(replica: Replica): Replica {
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(call: () => Promise<T>): Promise<T> => {
    const result = last.then(call);
    last = result.catch(() => {}); // whose call it was hears of it
    return result;
  };
  return {
    sumLength: replica.sumLength,
    totalSteps: replica.totalSteps,
    get isBlank() {
      return replica.isBlank;
    },
    get applied() {
      return replica.applied;
    },
    sums: (pieces, into, signal, departure) =>
      inTurn(async () => {
        signal.throwIfAborted();
        return await replica.sums(pieces, into, signal, departure);
      }),
    skip: replica.skip && ((digest) => inTurn(() => replica.skip!(digest))),
    nameOf: replica.nameOf && ((element) => replica.nameOf!(element)),
    apply: (sum, digest, trainedMs, isReplayed) =>
      inTurn(() => replica.apply(sum, digest, trainedMs, isReplayed)),
    snapshot: () => inTurn(() => replica.snapshot()),
    load: (applied, chunks) => inTurn(() => replica.load(applied, chunks)),
    restore: (wrongFrom) => inTurn(() => replica.restore(wrongFrom)),
  };
}
