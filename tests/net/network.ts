import { type Frame, type OutgoingFrame, payloadChecksum } from "../../src/net/link/frame.ts";
import { Allreduce, type AllreduceOptions } from "../../src/net/sum/allreduce.ts";
import { randomOf } from "./support.ts";

export const idOf = (index: number) => `n${index}`;

/**
 * Members in one process. A link hands over frames after a random while and delivers them after another, in order or,
 * like several sockets between two members, in any order.
 */
export class Network implements Disposable {
  readonly nodes = new Map<string, Allreduce>();
  /** What the receivers refused. */
  readonly faults: string[] = [];
  inOrder = true;
  /** What is delivered in a frame's place. */
  tamper: (from: string, to: string, frame: Frame) => Frame[] = (_from, _to, frame) => [frame];
  /** Called before each delivery. */
  onDelivery: () => void = () => {};
  readonly #links = new Map<string, (() => void)[]>();
  readonly #random: () => number;
  #isRunning = false;

  constructor(members: number, options: Omit<AllreduceOptions, "self">, seed = 1) {
    this.#random = randomOf(seed);
    for (let index = 0; index < members; index++) {
      const self = idOf(index);
      const send = (to: string, frame: OutgoingFrame) => this.#send(self, to, frame);
      this.nodes.set(self, new Allreduce({ send }, { ...options, self }));
    }
  }

  node(index: number): Allreduce {
    const node = this.nodes.get(idOf(index));
    if (node === undefined) throw new Error(`No node ${index}`);
    return node;
  }

  /** Begins an epoch of the first `members` nodes. */
  async begin(epoch: number, members: number, step = 0): Promise<void> {
    const ids = Array.from({ length: members }, (_, index) => idOf(index));
    await Promise.all(ids.map((_, index) => this.node(index).begin({ epoch, step, members: ids })));
  }

  [Symbol.dispose](): void {
    for (const node of this.nodes.values()) node.close();
  }

  #send(from: string, to: string, frame: OutgoingFrame): Promise<void> {
    const handedOver = Promise.withResolvers<void>();
    this.#queue(`${from} gives ${to}`, () => {
      const payload = frame.payload.slice() as Uint8Array<ArrayBuffer>;
      for (
        const each of this.tamper(from, to, {
          ...frame,
          payload,
          checksum: frame.checksum?.() ?? payloadChecksum(payload),
        })
      ) {
        this.#queue(`${from} to ${to}`, () => this.#deliver(from, to, each));
      }
      handedOver.resolve();
    });
    return handedOver.promise;
  }

  #deliver(from: string, to: string, frame: Frame): void {
    this.onDelivery();
    const refuse = (error: unknown) => {
      this.faults.push(String(error));
      this.nodes.get(from)?.lost(to, "closed as fault");
    };
    try {
      this.nodes.get(to)?.receive(from, frame)?.catch(refuse);
    } catch (error) {
      refuse(error);
    }
  }

  #queue(link: string, action: () => void): void {
    this.#links.set(link, [...this.#links.get(link) ?? [], action]);
    if (!this.#isRunning) this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#links.size > 0) {
      await new Promise((resolve) => setTimeout(resolve, 0)); // the workers get their turn
      for (let burst = Math.floor(this.#random() * 24); burst >= 0 && this.#links.size > 0; burst--) {
        const [link, actions] = [...this.#links][Math.floor(this.#random() * this.#links.size)];
        const place = this.inOrder ? 0 : Math.floor(this.#random() * actions.length);
        const [action] = actions.splice(place, 1);
        if (actions.length === 0) this.#links.delete(link);
        action();
      }
    }
    this.#isRunning = false;
  }
}
