/** A member that says what a test tells it to, over a real link to a running coordinator. */
import { controlClaim, controlUrl, COORDINATOR_MESSAGES } from "../../src/net/control/control.ts";
import { ControlLink } from "../../src/net/control/controlLink.ts";
import type { CoordinatorMessage, MemberMessage, MessageOf } from "../../src/net/control/messages.ts";
import { connect } from "../../src/net/link/connect.ts";
import { digestOf, hello } from "./coordinatorBench.ts";
import { token } from "./sockets.ts";

export class ScriptedMember {
  readonly id: string;
  readonly link: ControlLink<CoordinatorMessage, MemberMessage>;
  readonly #index: number;
  readonly #heard: CoordinatorMessage[] = [];
  #notify = Promise.withResolvers<void>();

  constructor(index: number, channel: Awaited<ReturnType<typeof connect>>) {
    this.#index = index;
    this.id = `m${index}`;
    this.link = new ControlLink(channel, {
      schema: COORDINATOR_MESSAGES,
      onMessage: (message) => {
        this.#heard.push(message);
        this.#wake();
      },
    });
    this.link.closed.then(() => this.#wake());
  }

  /** Connects as `m<index>`. */
  static async dial(url: string, index: number): Promise<ScriptedMember> {
    const dial = { url: controlUrl(url), token, claim: controlClaim("member", `m${index}`) };
    return new ScriptedMember(index, await connect(dial));
  }

  /** Connects and says hello. */
  static async join(
    url: string,
    index: number,
    changes: Parameters<typeof hello>[1] = {},
  ): Promise<ScriptedMember> {
    const member = await ScriptedMember.dial(url, index);
    member.hello(changes);
    await member.hears("welcome");
    return member;
  }

  hello(changes: Parameters<typeof hello>[1] = {}): void {
    this.link.send(hello(this.#index, changes));
  }

  ready(epoch: number, step: number, digest = digestOf(step)): void {
    this.link.send({ type: "ready", epoch, step, digest, workMs: 10 * this.#index, slowest: null });
  }

  /** Sends heartbeats, in place of those that it sent so far. */
  beat(heartbeatMs: number): void {
    const beat = {
      type: "heartbeat",
      epoch: 0,
      step: 0,
      tokensPerSecond: 5000,
      exposedShare: 0.25,
      computed: 0,
    } as const;
    this.link.keepAlive(heartbeatMs, () => this.link.send(beat));
  }

  /** The next message of a kind; what comes before it is dropped. */
  async hears<T extends CoordinatorMessage["type"]>(type: T): Promise<MessageOf<CoordinatorMessage, T>> {
    const isWanted = (message: CoordinatorMessage): message is MessageOf<CoordinatorMessage, T> =>
      message.type === type;
    for (;;) {
      for (let message = this.#heard.shift(); message; message = this.#heard.shift()) {
        if (isWanted(message)) return message;
      }
      if (this.link.channel.isClosed) throw new Error(`The link of ${this.id} has closed before ${type}`);
      await this.#notify.promise;
    }
  }

  #wake(): void {
    this.#notify.resolve();
    this.#notify = Promise.withResolvers();
  }
}
