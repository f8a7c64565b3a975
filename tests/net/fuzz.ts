/**
 * `fuzz.ts SEED ROUNDS`: throws random and mutated handshakes, frames and messages at a group while it trains, and prints
 * what came of it as JSON. Run with --v8-flags=--expose-gc.
 */
import { controlClaim, controlUrl } from "../../src/net/control/control.ts";
import { newTicket } from "../../src/net/link/auth.ts";
import { Channel, ClosedError } from "../../src/net/link/channel.ts";
import { connect } from "../../src/net/link/connect.ts";
import { encodeFrame, FRAME_TYPES, HEADER_BYTES, WIRE_TYPES } from "../../src/net/link/frame.ts";
import { DATA_PATH } from "../../src/net/member/dataPlane.ts";
import { hello } from "./coordinatorBench.ts";
import { FakeReplica, trainAlone } from "./fakeReplica.ts";
import { finish, Group } from "./group.ts";
import { groupIdentity } from "./groupIdentity.ts";
import { randomBytes, randomNumbers, token } from "./sockets.ts";
import { sameBits } from "./support.ts";

export interface Fuzzed {
  /** Attacks, and bytes that were sent in them. */
  readonly attacks: number;
  readonly bytes: number;
  /** Frames between members that were changed on their way. */
  readonly tampered: number;
  /** How the attackers' channels ended. */
  readonly ends: Record<string, number>;
  /** All members have the state of one process alone. */
  readonly isRight: boolean;
  /** Steps that were done meanwhile. */
  readonly steps: number;
  /** Bytes in use after a collection: after a third of the attacks, and after all. */
  readonly before: number;
  readonly after: number;
  /** Lines of the members' logs. */
  readonly lines: number;
  /** The token, or the secret that it was made from, has shown up in a log. */
  readonly isLeaked: boolean;
}

declare const gc: () => void;

const TOTAL_STEPS = 2000;
const MAX_BYTES = 1 << 20;
/** Frames between members of which one is changed. */
const EVERY = 60;

/** Where tickets to the coordinator lead. */
const COORDINATOR = controlClaim("member", "x");

/** Of a member. */
interface Door {
  readonly id: string;
  readonly url: string;
}

class Fuzzer {
  attacks = 0;
  bytes = 0;
  readonly ends: Record<string, number> = {};
  readonly #random: (bound: number) => number;
  readonly #group: Group;
  readonly #doors: readonly Door[];

  constructor(seed: number, group: Group, doors: readonly Door[]) {
    this.#random = randomNumbers(seed);
    this.#group = group;
    this.#doors = doors;
  }

  /** Each kind of attack in turn, at random places. */
  async attack(): Promise<void> {
    const kinds = [this.#http, this.#handshake, this.#frames, this.#words, this.#messages];
    await kinds[this.attacks++ % kinds.length].call(this);
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#random(values.length)];
  }

  #mutate<B extends Uint8Array>(bytes: B): B {
    for (let i = this.#random(4); i >= 0 && bytes.length > 0; i--) {
      bytes[this.#random(bytes.length)] ^= 1 + this.#random(255);
    }
    return bytes;
  }

  #mutateText(text: string): string {
    return new TextDecoder().decode(this.#mutate(new TextEncoder().encode(text)));
  }

  #door(): Door {
    return this.#pick(this.#doors);
  }

  /** Requests that are none, or nearly ones. */
  async #http(): Promise<void> {
    const { hostname, port } = new URL(this.#pick([this.#group.url, this.#door().url]));
    using connection = await Deno.connect({ hostname, port: Number(port) });
    const lines = [
      `GET ${this.#pick(["/data", "/control", "/", "/%00"])} HTTP/1.1`,
      ...["Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
      `Sec-WebSocket-Key: eA==`,
      `Sec-WebSocket-Protocol: ${this.#mutateText(await newTicket(token, COORDINATOR))}`,
    ];
    const request = this.#mutate(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
    await connection.write(request).catch(() => {});
    this.bytes += request.length;
    await Promise.race([connection.read(new Uint8Array(1000)).catch(() => {}), later(20)]);
    this.#count("http");
  }

  /** A good ticket, then an answer to the challenge that is none. */
  async #handshake(): Promise<void> {
    const { id: to, url } = this.#door();
    const { run } = groupIdentity;
    const door = { url: url + DATA_PATH, run, to };
    const target = this.#pick([{ url: controlUrl(this.#group.url), ...COORDINATOR }, door]);
    const channel = new Channel(new WebSocket(target.url, await newTicket(token, target)), "client", 4096);
    try {
      await channel.opened;
      await channel.receive();
      const nonce = "00".repeat(32);
      const answer = { claim: controlClaim("member", "x"), nonce, proof: nonce };
      const text = this.#mutateText(JSON.stringify(answer));
      this.#send(channel, this.#random(2) === 0 ? text : randomBytes(this.#random(3000), this.#random));
      await this.#end("handshake", channel);
    } catch (error) {
      if (!(error instanceof ClosedError)) throw error;
      this.#count(`handshake ${error.reason.kind}`);
    }
  }

  /** Frames of a member that is none, of one that there is already, of an epoch that never was. */
  async #frames(): Promise<void> {
    const channel = await this.#enter("member", this.#pick(["m0", "m1", "stranger"]));
    for (let i = this.#random(8); i >= 0 && !channel.isClosed; i--) this.#send(channel, this.#frame());
    await this.#end("frames", channel);
  }

  /** Questions of somebody who copies a state. */
  async #words(): Promise<void> {
    const channel = await this.#enter("follower", "copier");
    const words = [{ want: "state" }, { want: "sum", step: this.#random(2 ** 31) }, { want: "sum", step: 1 }];
    for (let i = this.#random(3); i >= 0 && !channel.isClosed; i--) {
      const text = JSON.stringify(this.#pick(words));
      const payload = new TextEncoder().encode(this.#random(2) === 0 ? text : this.#mutateText(text));
      const fields = { bucket: 0, epoch: 0, step: 0, piece: 0, offset: 0, payload };
      this.#send(channel, encode({ type: "state", wireType: "bytes", ...fields }));
    }
    await this.#end("words", channel);
  }

  /** Messages to the coordinator, of somebody who never becomes a member. */
  async #messages(): Promise<void> {
    const claim = controlClaim(this.#pick(["member", "watcher"]), "stranger");
    const channel = await connect({ url: controlUrl(this.#group.url), token, claim });
    const digest = "00".repeat(8);
    const messages = [
      { ...hello(1), memberId: "stranger", configDigest: "0ddba11c" },
      { type: "heartbeat", epoch: 1, step: 1, tokensPerSecond: 1, exposedShare: 0, computed: 1 },
      { type: "ready", epoch: 1, step: this.#random(2000), digest, workMs: 1, slowest: null },
      { type: "failed", epoch: 1, step: this.#random(2000), peer: "m1", reason: "made up" },
      { type: "caughtUp", step: 1, digest, isProven: false },
      { type: "leaving", finished: true },
      { type: "status" },
    ];
    for (let i = this.#random(6); i >= 0 && !channel.isClosed; i--) {
      const text = JSON.stringify(this.#pick(messages));
      const size = this.#random(70_000);
      const junk = [text, this.#mutateText(text), text.slice(0, this.#random(text.length)), "[".repeat(size)];
      this.#send(channel, this.#random(9) === 0 ? randomBytes(size, this.#random) : this.#pick(junk));
    }
    await this.#end("messages", channel);
  }

  async #enter(role: string, id: string): Promise<Channel> {
    const { id: to, url } = this.#door();
    const epoch = this.#pick([0, this.#group.coordinator.status().epoch, 1 + this.#random(2 ** 32 - 1)]);
    return await connect({
      url: url + DATA_PATH,
      token,
      claim: { run: groupIdentity.run, role, id, to, epoch },
    });
  }

  #frame(): Uint8Array<ArrayBuffer> {
    if (this.#random(4) === 0) return randomBytes(this.#random(200), this.#random);
    const number = () => this.#pick([0, 1, this.#random(2 ** 31), 2 ** 32 - 1]);
    const payload = new Uint8Array(this.#pick([0, 4, 65536, MAX_BYTES, MAX_BYTES + 4])).fill(
      this.#random(256),
    );
    const frame = encode({
      type: this.#pick(FRAME_TYPES),
      wireType: this.#pick(WIRE_TYPES),
      ...{ bucket: number(), epoch: number(), step: number(), piece: number(), offset: number(), payload },
    });
    return this.#random(2) === 0 ? frame : this.#mutate(frame);
  }

  #send(channel: Channel, message: string | Uint8Array<ArrayBuffer>): void {
    this.bytes += message.length;
    channel.send(message);
  }

  /** Waits a little for what the other side makes of it. */
  async #end(kind: string, channel: Channel): Promise<void> {
    await Promise.race([channel.closed, later(20)]);
    channel.close();
    const { kind: how, by } = await channel.closed;
    this.#count(`${kind} ${by === "us" ? "stayed open" : how}`);
  }

  #count(end: string): void {
    this.ends[end] = (this.ends[end] ?? 0) + 1;
  }
}

/** Changes frames between members, so seldom that no step is lost again and again. */
class Tampering {
  count = 0;
  isOver = false;
  #seen = 0;
  readonly #random: (bound: number) => number;

  constructor(seed: number) {
    this.#random = randomNumbers(seed + 1);
  }

  readonly open = (url: string, protocol: string): WebSocket => {
    const socket = new WebSocket(url, protocol);
    Object.defineProperty(socket, "onmessage", {
      set: (handle: (event: MessageEvent) => void) =>
        socket.addEventListener(
          "message",
          ({ data }) => handle(new MessageEvent("message", { data: this.#tamper(data) })),
        ),
    });
    return socket;
  };

  #tamper(data: string | ArrayBuffer): string | ArrayBuffer {
    if (typeof data === "string" || this.isOver || ++this.#seen % EVERY !== 0) return data;
    this.count++;
    const bytes = new Uint8Array(data);
    const kind = this.#random(3);
    if (kind === 0) return data.slice(0, this.#random(data.byteLength));
    if (kind === 1) bytes.fill(this.#random(256), this.#random(bytes.length));
    bytes[this.#random(bytes.length)] ^= 1 + this.#random(255);
    return data;
  }
}

function encode(frame: Parameters<typeof encodeFrame>[1]): Uint8Array<ArrayBuffer> {
  return encodeFrame(new Uint8Array(HEADER_BYTES + frame.payload.length), frame);
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function bytesInUse(): Promise<number> {
  await later(200); // closed connections are let go
  gc();
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
}

async function fuzz(seed: number, rounds: number): Promise<Fuzzed> {
  await using group = await Group.start(2, 2000);
  const replicas = [
    new FakeReplica({ totalSteps: TOTAL_STEPS }),
    new FakeReplica({ totalSteps: TOTAL_STEPS }),
  ];
  // The group trains on, slowly, until the attacks are over.
  for (const replica of replicas) replica.beforeSums = () => later(5);
  const tampering = new Tampering(seed);
  const nodes = replicas.map((replica, i) => group.join(`m${i}`, { replica, openSocket: tampering.open }));
  const fuzzer = new Fuzzer(seed, group, nodes.map(({ url }, i) => ({ id: `m${i}`, url })));
  while (group.coordinator.status().step < 2) await later(5);
  let before = 0;
  for (let round = 0; round < rounds; round++) {
    await fuzzer.attack();
    if (round === Math.floor(rounds / 3)) before = await bytesInUse();
  }
  const after = await bytesInUse();
  tampering.isOver = true;
  const last = Math.max(...replicas.map(({ applied }) => applied.step)) + 3;
  const stop = new Promise<void>((resolve) => {
    for (const [i, replica] of replicas.entries()) {
      replica.beforeSums = (step) => {
        if (step > last) nodes[i].leave(false);
        if (step > last) resolve();
      };
    }
  });
  await stop;
  await finish(...nodes);
  const [{ applied, state }] = replicas;
  const log = group.log.join("\n");
  return {
    attacks: fuzzer.attacks,
    bytes: fuzzer.bytes,
    ends: fuzzer.ends,
    tampered: tampering.count,
    isRight: sameBits(state, await trainAlone(applied.step, groupIdentity.virtualWorkers)),
    steps: applied.step,
    before,
    after,
    lines: group.log.length,
    isLeaked: log.includes("a token of these tests"),
  };
}

const [seed, rounds] = Deno.args.map(Number);
console.log(JSON.stringify(await fuzz(seed, rounds)));
Deno.exit(0);
