/** A process of a group that `spawnGroup` has started: links and bare WebSockets to all others. */
import { importToken } from "../src/net/link/auth.ts";
import type { Channel } from "../src/net/link/channel.ts";
import { connect } from "../src/net/link/connect.ts";
import type { OutgoingFrame } from "../src/net/link/frame.ts";
import { Gate } from "../src/net/link/gate.ts";
import { Link } from "../src/net/link/link.ts";
import { upgrade } from "../src/net/link/listenServer.ts";
import { bucketElementsOf, openBuckets, WHOLE_ELEMENTS } from "../src/net/member/stepSum.ts";
import { Allreduce, type Bucket } from "../src/net/sum/allreduce.ts";
import { framesOf, RawPair } from "./_rawPair.ts";
import { median } from "./_report.ts";

export interface Place {
  readonly self: number;
  readonly members: number;
}

export interface GroupNode {
  readonly raws: ReadonlyMap<number, RawPair>;
  /** Sums an array as members do: zeros, or if it is to be checked, elements that are all `self + 1`. */
  reduce(length: number, isChecked?: boolean): Promise<void>;
  /** Opens an array that members sum whole. */
  open(length: number): Promise<Bucket>;
  /** The frames of such a sum over bare WebSockets. @param array what is sent: at least a header and the elements */
  exchange(length: number, array: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Waits for all others. */
  meet(): Promise<void>;
  /** Medians in milliseconds of several runs in turn: what else goes on meets them all alike. */
  medianTimes<Name extends string>(
    repeats: number,
    runs: Runs<Name>,
    warmUp?: number,
  ): Promise<Record<Name, number>>;
  /** Ends the process when all are done: who ends first must not seem lost to the others. */
  leave(): Promise<void>;
}

/** Rounds that only warm up are told. */
export type Runs<Name extends string> = Readonly<Record<Name, (isWarmUp: boolean) => Promise<unknown>>>;

/** Rounds that are not timed: memory is touched, code is compiled. More than there are places for buckets. */
const WARM_UP = 5;

const idOf = (index: number) => `n${index}`;

/**
 * Tells the parent its port, hears of the others', and links up with them.
 *
 * @param longest array that is summed; from a length on that members don't sum whole, no shorter ones after
 */
export async function enterGroup({ self, members }: Place, longest: number): Promise<GroupNode> {
  const peers = Array.from({ length: members }, (_, index) => index).filter((index) => index !== self);
  const token = await importToken("the token of a benchmark");
  /** To send over, by peer. */
  const links = new Map<string, Link>();
  const raws = new Map<number, RawPair>();
  // One for what is summed whole, the other for what is summed in buckets: each is an epoch.
  const lengths = [Math.min(longest, WHOLE_ELEMENTS), longest];
  const allreduces = lengths.map((length) =>
    new Allreduce({
      async send(peer: string, frame: OutgoingFrame) {
        await links.get(peer)?.send(frame);
      },
    }, {
      ...{ self: idOf(self), virtualWorkers: members, bucketElements: bucketElementsOf(length) },
      maxOpen: openBuckets(length, bucketElementsOf(length)),
    })
  );
  const of = (epoch: number) => allreduces[Math.min(Math.max(epoch, 1), allreduces.length) - 1];

  const makeLink = (channel: Channel, peer: string): Link => {
    const link = new Link(channel, {
      arrayBytes: (header) => of(header.epoch).arrayBytes(header),
      leavesChecksums: true,
      onFrame: (frame) => of(frame.epoch).receive(peer, frame),
    });
    link.closed.then(({ detail }) => allreduces.forEach((allreduce) => allreduce.lost(peer, detail)));
    return link;
  };

  // Everybody dials everybody, and sends over the sockets that others have dialled: link.ts says why.
  const gate = new Gate({
    doors: {
      "/data": {
        token,
        run: "bench",
        roles: ["member"],
        id: idOf(self),
        enter: (channel, { id }) => links.set(id, makeLink(channel, id)),
      },
    },
  });
  const accepted = new Map<number, WebSocket>();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request, { remoteAddr }) => {
      const url = new URL(request.url);
      if (url.pathname === "/data") return upgrade(gate, request, remoteAddr);
      const { socket, response } = Deno.upgradeWebSocket(request);
      accepted.set(Number(url.searchParams.get("from")), socket);
      return response;
    },
  );

  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
  console.log(server.addr.port);
  const ports: number[] = JSON.parse((await lines.read()).value ?? "[]");
  const dialled = new Map<number, WebSocket>();
  for (const peer of peers) {
    const host = `ws://127.0.0.1:${ports[peer]}`;
    const claim = { run: "bench", role: "member", id: idOf(self), to: idOf(peer), epoch: 1 };
    makeLink(await connect({ url: `${host}/data`, token, claim }), idOf(peer));
    const socket = new WebSocket(`${host}/raw?from=${self}`);
    socket.binaryType = "arraybuffer";
    dialled.set(peer, socket);
    await new Promise((resolve) => socket.onopen = resolve);
  }
  while (links.size < peers.length || accepted.size < peers.length) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  for (const peer of peers) {
    const [out, into] = [accepted.get(peer), dialled.get(peer)];
    if (out !== undefined && into !== undefined) raws.set(peer, new RawPair(out, into));
  }
  let [epoch, step] = [0, 0];
  const begin = async (next: number) => {
    if (epoch > 0) of(epoch).close();
    epoch = next;
    const ids = Array.from({ length: members }, (_, index) => idOf(index));
    await of(epoch).begin({ epoch, step, members: ids });
  };
  await begin(1);

  const reduce = async (length: number, isChecked = false) => {
    if (length > WHOLE_ELEMENTS && epoch === 1) await begin(2);
    step++;
    const running: Promise<void>[] = [];
    const bucketElements = bucketElementsOf(length);
    for (let from = 0; from < length; from += bucketElements) {
      const bucket = await of(epoch).open(step, running.length, Math.min(bucketElements, length - from));
      if (isChecked) bucket.pieces[0].fill(self + 1);
      running.push(
        bucket.reduce().then(() => {
          if (isChecked && !isFilledWith(bucket.sum, members * (members + 1) / 2)) {
            throw new Error(`Member ${self} got a wrong sum`);
          }
          if (isChecked) bucket.sum.fill(0); // which is what later rounds add
          bucket.release();
        }),
      );
    }
    await Promise.all(running);
  };
  const meet = () => reduce(1);

  return {
    raws,
    reduce,
    open: (length) => of(epoch).open(++step, 0, length),
    meet,
    async exchange(length, array) {
      await Promise.all(
        [...raws].map(([peer, pair]) => {
          const receives = framesOf(length, peer, self, members).length;
          return pair.exchange(framesOf(length, self, peer, members), receives, array);
        }),
      );
    },
    async medianTimes(repeats, runs, warmUp = WARM_UP) {
      const names = Object.keys(runs) as (keyof typeof runs)[];
      const times = names.map((): number[] => []);
      for (let repeat = -warmUp; repeat < repeats; repeat++) {
        for (const [i, name] of names.entries()) {
          await meet();
          const start = performance.now();
          await runs[name](repeat < 0);
          if (repeat >= 0) times[i].push(performance.now() - start);
        }
      }
      return Object.fromEntries(names.map((name, i) => [name, median(times[i])])) as Record<
        keyof typeof runs,
        number
      >;
    },
    async leave() {
      await meet();
      console.log("done");
      await lines.read();
      Deno.exit(0);
    },
  };
}

/** In a loop that leaves nothing behind for the garbage collector. */
function isFilledWith(values: Float32Array, value: number): boolean {
  for (let i = 0; i < values.length; i++) if (values[i] !== value) return false;
  return true;
}
