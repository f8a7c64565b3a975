import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { Proxy } from "../../src/chaos/proxy.ts";
import type { Channel } from "../../src/net/link/channel.ts";
import { Gate } from "../../src/net/link/gate.ts";
import { digestOf, hashBytes } from "../../src/net/link/laneHash.ts";
import { Link } from "../../src/net/link/link.ts";
import { listen } from "../../src/net/link/listenServer.ts";
import { CommittedSums } from "../../src/net/member/committedSums.ts";
import { DATA_PATH, DATA_ROLES } from "../../src/net/member/dataPlane.ts";
import { Donor } from "../../src/net/member/donor.ts";
import { DonorError, Follower } from "../../src/net/member/follower.ts";
import { MAX_WORD_BYTES, sendChunk, sendWord } from "../../src/net/member/stateCopy.ts";
import type { Snapshot } from "../../src/net/replica.ts";
import { cutBuckets } from "../../src/net/sum/partition.ts";
import { allocateSum, digestAfter } from "../../src/net/sum/sumDigest.ts";
import { FakeReplica } from "./fakeReplica.ts";
import { claim, token } from "./sockets.ts";
import { hardVector, sameBits } from "./support.ts";

const { signal } = new AbortController();

/** A donor behind a door, and a follower that knows where it is. */
class Pair implements AsyncDisposable {
  readonly sums: CommittedSums;
  readonly follower: Follower;
  readonly donor: { readonly id: string; readonly url: string };
  readonly #gate: Gate;
  readonly #close: () => Promise<void>;

  /** @param enter what the donor does with who follows it, if it is no honest one */
  constructor(
    readonly sumLength: number,
    snapshot: () => Promise<Snapshot | null>,
    enter?: (channel: Channel) => void,
    heartbeatMs: () => number = () => 1000,
  ) {
    this.sums = new CommittedSums(sumLength, 0);
    const onError = (error: unknown) => {
      throw error;
    };
    const donor = new Donor({ sums: this.sums, snapshot, heartbeatMs, onError });
    const { run, to, id } = claim;
    const door = { token, run, roles: DATA_ROLES, id: to };
    this.#gate = new Gate({
      doors: { [DATA_PATH]: { ...door, enter: enter ?? ((channel) => donor.enter(channel)) } },
    });
    const listener = listen(this.#gate);
    this.#close = () => listener.close();
    this.donor = { id: to, url: listener.url };
    const dialler = { run, id, token };
    this.follower = new Follower({ dialler, sumLength, bucketElements: 100, epoch: () => 1, heartbeatMs });
  }

  /** The donor's process ends. */
  kill(): void {
    this.#gate.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.follower.stop();
    this.sums.close();
    await this.#close();
  }
}

Deno.test("Follower takes a donor's state in chunks, one copy after the other", async () => {
  const source = new FakeReplica({ sumLength: 12345 });
  source.state = hardVector(12345, 1);
  source.applied = { step: 7, digest: "0123456789abcdef" };
  await using pair = new Pair(12345, () => source.snapshot());
  for (let copy = 0; copy < 2; copy++) {
    const { applied, chunks } = await pair.follower.copy(pair.donor, signal);
    const target = new FakeReplica({ sumLength: 12345 });
    await target.load(applied, chunks);
    assertEquals(target.applied, source.applied);
    assert(sameBits(target.state, source.state));
  }
});

Deno.test("a copy over a slow link goes on, though what is on its way takes longer than a silent link lasts", async () => {
  const heartbeatMs = 100; // silent after 250 ms
  const state = new Uint8Array(5 << 20); // more than a window
  const applied = { step: 1, digest: "0badc0de" };
  const snapshot = () =>
    Promise.resolve({ applied, bytes: state.length, chunks: () => ReadableStream.from([state]) });
  await using pair = new Pair(1, snapshot, undefined, () => heartbeatMs);
  using proxy = new Proxy();
  proxy.target = Number(new URL(pair.donor.url).port);
  proxy.weather = { delayMs: 0, bytesPerSecond: 2 << 20 };
  const { chunks } = await pair.follower.copy({ ...pair.donor, url: `ws://127.0.0.1:${proxy.port}` }, signal);
  let taken = 0;
  for await (const chunk of chunks) taken += chunk.length;
  assertEquals(taken, state.length);
});

Deno.test("Follower fails by a DonorError when its donor is gone or has no whole state, and when it is stopped", async () => {
  const source = new FakeReplica({ sumLength: 2_000_003 });
  let snapshot: () => Promise<Snapshot | null> = () => source.snapshot();
  await using pair = new Pair(2_000_003, () => snapshot());
  const drain = async (chunks: AsyncIterable<unknown>) => {
    for await (const _ of chunks);
  };

  const stopped = await pair.follower.copy(pair.donor, signal);
  pair.follower.stop();
  await assertRejects(() => drain(stopped.chunks), DonorError, "we left");

  const cut = await pair.follower.copy(pair.donor, signal);
  pair.kill();
  await assertRejects(() => drain(cut.chunks), DonorError, "peer");
  await assertRejects(() => pair.follower.copy(pair.donor, signal), DonorError);

  snapshot = () => Promise.resolve(null);
  await using other = new Pair(1, () => snapshot());
  await assertRejects(() => other.follower.copy(other.donor, signal), DonorError, "no whole state here");
  await assertRejects(() => other.follower.copy(other.donor, AbortSignal.abort()), DonorError);
});

Deno.test("Follower takes no chunk but the next one, none of another step's sum, and no state but the one that was sent", async () => {
  const bytes = new Uint8Array(8);
  const head = { kind: "state", step: 2, digest: "0badc0de", bytes: 16 } as const;
  const copy = async ({ follower, donor }: Pair) => {
    for await (const _ of (await follower.copy(donor, signal)).chunks);
  };
  const fetchSum = ({ follower, donor }: Pair) => follower.fetchSum(donor, 2, signal);
  const cases: [string, (pair: Pair) => Promise<unknown>, (link: Link) => Promise<void>[]][] = [
    ["a chunk from byte 8, expected 0", copy, (link) => [
      sendWord(link, head),
      sendChunk(link, "state", 2, 8, bytes),
    ]],
    ["The state that has come is not the one that was sent", copy, (link) => [
      sendWord(link, head),
      sendChunk(link, "state", 2, 0, bytes),
      sendChunk(link, "state", 2, 8, bytes),
      sendWord(link, { kind: "end", hash: "0badc0de0badc0de" }),
    ]],
    ["a chunk from byte 0, expected 8", fetchSum, (link) => [
      sendChunk(link, "sum", 2, 0, bytes),
      sendChunk(link, "sum", 2, 0, bytes),
    ]],
    ["unknown bucket", fetchSum, (link) => [sendChunk(link, "sum", 3, 0, bytes)]],
  ];
  for (const [expected, follow, tell] of cases) {
    await using pair = new Pair(4, () => Promise.resolve(null), (channel) => {
      const link: Link = new Link(channel, {
        arrayBytes: () => MAX_WORD_BYTES,
        onFrame: () => void Promise.allSettled(tell(link)).then(() => link.close("that was all")),
      });
    });
    await assertRejects(() => follow(pair), DonorError, expected);
  }
});

Deno.test("Follower fetches sums that are kept, waits for one to come, and hears of one that is not", async () => {
  const source = new FakeReplica({ sumLength: 1003 });
  await using pair = new Pair(1003, () => source.snapshot());
  const [first, second, third] = [1, 2, 3].map((seed) => hardVector(1003, seed));
  const fetchSum = (step: number) => pair.follower.fetchSum(pair.donor, step, signal);
  pair.sums.add(1, first);
  assertEquals(await fetchSum(1), null);
  pair.sums.add(2, second);
  const fetched = await fetchSum(2);
  assert(fetched !== null && sameBits(fetched.sum, second));
  const waiting = fetchSum(3);
  pair.sums.add(3, third);
  const later = await waiting;
  assert(later !== null && sameBits(later.sum, third));

  const same = allocateSum(1003, 100);
  same.sum.set(third);
  assertEquals(same.digests(), later.digests());
  same.sum[1002] = -same.sum[1002];
  assertNotEquals(same.digests().at(-1), later.digests().at(-1)); // the topmost bucket
  assertEquals(same.digests().slice(0, -1), later.digests().slice(0, -1));
});

Deno.test("the digests of a sum are its buckets', however long they are", () => {
  const [length, bucketElements] = [200_003, 150_000]; // a bucket is hashed in parts
  const { sum, digests } = allocateSum(length, bucketElements);
  sum.set(hardVector(length, 9));
  const expected = cutBuckets(length, bucketElements).map(({ from, to }) => {
    const bytes = new Uint8Array(sum.slice(from, to).buffer);
    return digestOf(hashBytes(bytes), bytes.length);
  });
  assertEquals(digests(), expected);
});

Deno.test("CommittedSums keeps the last sums while somebody follows, and a few steps longer", async () => {
  const sums = new CommittedSums(1 << 26, 0); // four of them take 2^30 bytes
  const sum = new Float32Array(3);
  const kept = async (to: number) => {
    const found = await Promise.all(Array.from({ length: to }, (_, i) => sums.get(i + 1)));
    return found.flatMap((each, i) => (each === null ? [] : [i + 1]));
  };
  sums.add(1, sum);
  assertEquals(await kept(1), []);
  const left = Promise.withResolvers<void>();
  const followed = sums.follow(left.promise);
  for (let step = 2; step <= 9; step++) sums.add(step, sum);
  assertEquals(await kept(9), [6, 7, 8, 9]);
  left.resolve();
  await followed;
  for (let step = 10; step <= 17; step++) sums.add(step, sum);
  assertEquals(await kept(17), [14, 15, 16, 17]);
  sums.add(18, sum);
  assertEquals(await kept(18), []);
  const never = sums.get(99);
  sums.close();
  assertEquals(await never, null);
});

Deno.test("digestAfter() depends on all that has led to a state", async () => {
  const digests = await Promise.all([
    digestAfter("00000000", 1, ["a", "b"]),
    digestAfter("00000001", 1, ["a", "b"]),
    digestAfter("00000000", 2, ["a", "b"]),
    digestAfter("00000000", 1, ["b", "a"]),
  ]);
  assertEquals(new Set(digests).size, 4);
  assert(digests.every((digest) => /^[0-9a-f]{64}$/.test(digest)));
});

Deno.test("cutBuckets() covers an array from its end to its beginning, its topmost stretch last", () => {
  const cut = (length: number, bucketElements: number, exact = 0) =>
    cutBuckets(length, bucketElements, exact).map(({ from, to, exact }) => [from, to, exact]);
  assertEquals(cut(7, 3), [[1, 4, 0], [0, 1, 0], [4, 7, 0]]);
  assertEquals(cut(7, 3, 2), [[0, 2, 0], [2, 7, 2]]);
  assertEquals(cut(5, 3, 2), [[0, 5, 2]]);
  assertEquals(cut(3, 3), [[0, 3, 0]]);
  assertEquals(cutBuckets(0, 3), []);
});
