import { createHash } from "node:crypto";
import type { Applied } from "../net/replica.ts";
import { type ArrayLengths, layOutArrays } from "./arrayLayout.ts";
import { ArrayReplica, type ArraySums, type FillArrays, type ServiceState } from "./arrayReplica.ts";
import { type JoinOptions, takePart } from "./member.ts";

/** A group that sums arrays of a service. All members give the same, but for how each is reached. */
export interface GroupOptions<A extends ArrayLengths> extends JoinOptions {
  /** Of what is done: members of another name are refused. */
  readonly name: string;
  /**
   * The parts that each sum has, whoever computes them; the members share them out. Sums are the same bits for the same
   * number of them, and as many members can work at once; others stand by.
   */
  readonly virtualWorkers: number;
  /** Values of each array of a sum, by its name: `{ clicks: 1000, total: 1 }`. */
  readonly arrays: A;
  /** What a member that comes later must have to go on. Without it that begins with nothing. */
  readonly state?: ServiceState;
  /** The sum with which a state ended that the service has kept; default: none was made. */
  readonly start?: Applied;
  /** Leaves the group as `close` does; sums that are waited for reject with its reason. */
  readonly signal?: AbortSignal;
  /** One-line news for people: who is waited for, that the coordinator is gone. */
  readonly onMessage?: (text: string) => void;
}

/** A member's part in a group that sums arrays. */
export interface Group<A extends ArrayLengths> extends AsyncDisposable {
  /**
   * The next sum over all virtual workers, when all members have asked for it. Each gets the same bits, those of a fixed
   * tree over the virtual workers, whatever the number of members, and also when some are lost on the way: `fill` is then
   * called for their virtual workers here, and perhaps again for those of before.
   *
   * A member that comes later gets the sums from then on, `fill` being called once it takes part: `step` says which sum
   * it is. One sum at a time.
   *
   * @param fill adds a virtual worker's part: what it writes must be a function of `worker`, `step` and the sums before
   * @throws what `fill` throws, and then ends this member's part; UserError if it writes a value that is not finite, or
   * the group refuses this member: why; RetryError if it may join again
   */
  allReduce(fill: FillArrays<A>): Promise<ArraySums<A>>;
  /** Leaves the group at the end of the sum that is under way; resolves when all is closed. */
  close(): Promise<void>;
}

/** What a member that has left says to whoever asks for a sum. */
const LEFT = "This member has left the group";

/**
 * Joins a group of processes that sum arrays together, exactly. Waits for a coordinator that isn't there.
 *
 * Over a server of the caller's, see `OwnServer`; its coordinator is `coordinate`, or the verb of that name.
 *
 * @throws UserError for a mistake in the options, or a port that can't be listened on
 *
 * @example
 * ```ts
 * const token = await importToken("a secret of 16 characters or more");
 * const stop = new AbortController();
 * const coordinator = await coordinate({ folder: "runs/.votes", token, signal: stop.signal });
 * {
 *   await using group = await joinGroup({
 *     ...{ url: coordinator.url, token, name: "votes", virtualWorkers: 4 },
 *     arrays: { votes: 3, total: 1 },
 *   });
 *   const { step, arrays } = await group.allReduce(({ votes, total }, { worker }) => {
 *     votes[worker % 3] += 1;
 *     total[0] += 1;
 *   });
 *   console.log(step, arrays.votes, arrays.total); // 1 [2, 1, 1] [4]
 * }
 * stop.abort();
 * await coordinator.ended;
 * ```
 */
export async function joinGroup<const A extends ArrayLengths>(options: GroupOptions<A>): Promise<Group<A>> {
  const { name, virtualWorkers, arrays, state, start, signal, onMessage } = options;
  const layout = layOutArrays(arrays);
  const replica = await ArrayReplica.open(layout, state, start);
  const leaving = new AbortController();
  const configDigest = sha256(layout.text);
  const none = sha256("");
  const { over } = takePart(options, {
    replica,
    config: Object.entries(arrays).map(([name, length]) => [`${name}.length`, `${length}`] as const),
    identity: { run: name, virtualWorkers, configDigest, tokenizerHash: none, probe: none },
    tokensOf: () => layout.length,
    signal: leaving.signal,
    onMessage,
  });
  const leave = (reason: unknown) => {
    leaving.abort(); // the group is told before its member stops to answer it
    replica.end(reason);
  };
  const onAbort = () => leave(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  if (signal?.aborted) onAbort();
  const ended = over.then(() => replica.end(new Error(LEFT)), (error) => replica.end(error)).finally(() =>
    signal?.removeEventListener("abort", onAbort)
  );
  const close = () => {
    leave(new Error(LEFT));
    return ended;
  };
  return { allReduce: (fill) => replica.allReduce(fill), close, [Symbol.asyncDispose]: close };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
