/** One process of `bench/allreduce.ts`: the same program in each; member 0 prints a JSON line for each size. */

import { Allreduce } from "../src/net/allreduce.ts";
import { importToken } from "../src/net/auth.ts";
import type { Channel } from "../src/net/channel.ts";
import { connect } from "../src/net/connect.ts";
import { HEADER_BYTES, type OutgoingFrame } from "../src/net/frame.ts";
import { Gate } from "../src/net/gate.ts";
import { Link } from "../src/net/link.ts";
import { upgrade } from "../src/net/listenServer.ts";
import { sliceOf, SMALL_ELEMENTS } from "../src/net/partition.ts";
import { median } from "./_report.ts";

export interface NodeArguments {
  readonly self: number;
  readonly members: number;
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

const FRAME_BYTES = 256 << 10;
/** Rounds that are not timed: memory is touched, code is compiled. */
const WARM_UP = 5;
const [MIN_REPEATS, MAX_REPEATS] = [5, 200];
const BUCKET_ELEMENTS = 1 << 20;
const MAX_OPEN = 4;
/** Raw WebSockets get the credit that ours have: so many frames ahead, acknowledged in quarters. */
const WINDOW_FRAMES = 16;
const ACKNOWLEDGED_FRAMES = 4;

const { self, members, sizes }: NodeArguments = JSON.parse(Deno.args[0]);
const idOf = (index: number) => `n${index}`;
const peers = Array.from({ length: members }, (_, index) => index).filter((index) => index !== self);
const token = await importToken("the token of a benchmark");
/** To send over, by peer. */
const links = new Map<string, Link>();
const raws = new Map<number, RawPair>();

/** The frames of an exchange over bare WebSockets: cut out of an array as long as ours, and counted when they come. */
class RawPair {
  readonly #out: WebSocket;
  #toSend: Uint8Array<ArrayBuffer>[] = [];
  #inFlight = 0;
  #received = 0;
  #expected = 0;
  #done = Promise.withResolvers<void>();

  constructor(out: WebSocket, into: WebSocket) {
    this.#out = out;
    out.onmessage = () => {
      this.#inFlight -= ACKNOWLEDGED_FRAMES;
      this.#sendWaiting();
    };
    into.onmessage = () => {
      if (++this.#received % ACKNOWLEDGED_FRAMES === 0) into.send(new Uint8Array(1));
      if (this.#received === this.#expected) this.#done.resolve();
    };
  }

  /** Sends frames of these payloads and waits for as many from the other side. */
  async exchange(sends: readonly number[], receives: number, array: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#expected += receives;
    this.#done = Promise.withResolvers();
    if (this.#received === this.#expected) this.#done.resolve();
    let at = 0;
    for (const bytes of sends) {
      if (HEADER_BYTES + at + bytes > array.length) at = 0;
      this.#toSend.push(array.subarray(at, HEADER_BYTES + at + bytes));
      at += bytes;
    }
    this.#sendWaiting();
    await this.#done.promise;
  }

  #sendWaiting(): void {
    while (this.#inFlight < WINDOW_FRAMES) {
      const message = this.#toSend.shift();
      if (message === undefined) return;
      this.#out.send(message);
      this.#inFlight++;
    }
  }
}

/** Payloads of the frames that `from` sends `to` in an allreduce of `length` elements. */
function framesOf(length: number, from: number, to: number): number[] {
  const frames: number[] = [];
  for (let done = 0; done < length; done += BUCKET_ELEMENTS) {
    const bucket = Math.min(BUCKET_ELEMENTS, length - done);
    const slices = bucket <= SMALL_ELEMENTS ? [to] : [to, from];
    for (const slice of slices.map((member) => sliceOf(bucket, member, members))) {
      for (let at = 4 * slice.from; at < 4 * slice.to; at += FRAME_BYTES) {
        frames.push(Math.min(FRAME_BYTES, 4 * slice.to - at));
      }
    }
  }
  return frames;
}

/** Medians of several runs in turn: what else goes on meets them all alike. */
async function medianTimes<Name extends string>(
  repeats: number,
  runs: Readonly<Record<Name, () => Promise<unknown>>>,
): Promise<Record<Name, number>> {
  const names = Object.keys(runs) as Name[];
  const times = names.map((): number[] => []);
  for (let repeat = -WARM_UP; repeat < repeats; repeat++) {
    for (const [i, name] of names.entries()) {
      await meet();
      const start = performance.now();
      await runs[name]();
      if (repeat >= 0) times[i].push(performance.now() - start);
    }
  }
  return Object.fromEntries(names.map((name, i) => [name, median(times[i])])) as Record<Name, number>;
}

const allreduce = new Allreduce({
  async send(peer: string, frame: OutgoingFrame) {
    await links.get(peer)?.send(frame);
  },
}, { self: idOf(self), virtualWorkers: members, bucketElements: BUCKET_ELEMENTS, maxOpen: MAX_OPEN });

function makeLink(channel: Channel, peer: string): Link {
  const link = new Link(channel, {
    arrayBytes: (header) => allreduce.arrayBytes(header),
    leavesChecksums: true,
    onFrame: (frame) => allreduce.receive(peer, frame),
  });
  link.closed.then(({ detail }) => allreduce.lost(peer, detail));
  return link;
}

// Everybody dials everybody, and sends over the sockets that others have dialled: a server's sockets send at once,
// while a client's hold a message of 1 to 64 KiB back until the one before is acknowledged (Nagle), 40 ms on Linux.
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

await allreduce.begin({
  epoch: 1,
  step: 0,
  members: Array.from({ length: members }, (_, index) => idOf(index)),
});
let step = 0;
const meet = () => reduce(1);

/** In a loop that leaves nothing behind for the garbage collector. */
function isFilledWith(values: Float32Array, value: number): boolean {
  for (let i = 0; i < values.length; i++) if (values[i] !== value) return false;
  return true;
}

/** Sums an array whose elements are all `self + 1`, bucket by bucket. */
async function reduce(length: number): Promise<void> {
  step++;
  const running: Promise<void>[] = [];
  for (let from = 0; from < length; from += BUCKET_ELEMENTS) {
    const bucket = await allreduce.open(step, running.length, Math.min(BUCKET_ELEMENTS, length - from));
    const [piece] = bucket.pieces;
    const isFirst = piece[0] !== self + 1 || piece.at(-1) !== self + 1;
    if (isFirst) piece.fill(self + 1); // the first rounds; after them the memory is as it was left
    running.push(
      bucket.reduce().then(() => {
        const expected = members * (members + 1) / 2;
        if (isFirst && !isFilledWith(bucket.sum, expected)) {
          throw new Error(`Member ${self} got a wrong sum`);
        }
        bucket.release();
      }),
    );
  }
  await Promise.all(running);
}

for (const bytes of sizes) {
  const length = bytes / 4;
  const repeats = Math.max(MIN_REPEATS, Math.min(MAX_REPEATS, Math.floor(2 ** 28 / bytes)));
  const array = new Uint8Array(HEADER_BYTES + bytes).fill(1);
  const outgoing = new Map(peers.map((peer) => [peer, framesOf(length, self, peer)]));
  const incoming = new Map(peers.map((peer) => [peer, framesOf(length, peer, self).length]));
  const frame = [Math.min(bytes, FRAME_BYTES)];
  /** A frame to each, and an answer to whatever comes. */
  const thereAndBack = async (pair: RawPair) => {
    await pair.exchange(frame, 1, array);
    await pair.exchange(frame, 1, array);
  };
  const times = await medianTimes(repeats, {
    raw: () =>
      Promise.all(
        peers.map((peer) =>
          raws.get(peer)?.exchange(outgoing.get(peer) ?? [], incoming.get(peer) ?? 0, array)
        ),
      ),
    ours: () => reduce(length),
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
await meet();
console.log("done");
await lines.read(); // until all are done: who ends first must not seem lost to the others
Deno.exit(0);
