/**
 * A group in simulated time: coordinators, members, their connections, disks and data plane, and what can go
 * wrong with each. The model is a chain of hashes, so that a step that is skipped, done twice or done on
 * another state shows.
 */
import { assert, assertEquals } from "@std/assert";
import {
  type CoordinatorMessage,
  type Keeps,
  type MemberMessage,
  parseCoordinatorMessage,
  parseMemberMessage,
} from "../../src/net/control/messages.ts";
import { advanceCoordinator, createCoordinator } from "../../src/net/coordinator/coordinatorState.ts";
import type { CoordinatorAction, CoordinatorState, SavedGroup } from "../../src/net/coordinator/types.ts";
import { advanceMember, createMember } from "../../src/net/member/memberState.ts";
import type { MemberAction, MemberEvent, MemberState, StepWork } from "../../src/net/member/types.ts";
import type { Applied } from "../../src/net/replica.ts";
import { drawer, Stream } from "../../src/random.ts";

const HEARTBEAT = 100;
const WAIT = 500;
const RETAINED = 3;
/** Steps that a follower, or a member whose state's last commits got lost, may be behind. */
const LAG = 3;

/** What may go wrong in a run. */
export interface Scenario {
  readonly seed: number;
  readonly members: number;
  readonly virtualWorkers: number;
  /** Milliseconds during which faults are injected, about one every `faultMs`. */
  readonly durationMs: number;
  readonly faultMs: number;
  readonly faults: readonly Fault[];
  /** Every so many steps one is not finite, whoever does it, and is to be left out; 0: none is. */
  readonly skipEvery?: number;
  /** So many members keep a checkpoint; default: all. */
  readonly keepers?: number;
  /** What is broken between members from beginning to end. */
  readonly broken?: Broken;
  /** Pass messages through their text form and schemas. */
  readonly isChecked?: boolean;
}

export type Fault =
  | "kill" // the process ends, its connections close
  | "blackout" // all members end, and those that keep checkpoints come back last
  | "vanish" // the same, but nobody is told
  | "freeze"
  | "cut" // a connection closes
  | "partition"
  | "leave"
  | "killCoordinator" // at any action, also between writing and sending
  | "freezeCoordinator"
  | "rival" // a second coordinator without the file
  | "corrupt"; // one member's state changes by itself

export type Broken =
  | "dials" // the first member reaches no other, though others reach it
  | "receives" // the first member spoils what it receives, as it and whoever sent it see
  | "pair" // the first two members don't reach each other
  | "gradients"; // the first member's are often not finite

/** The state of a model, with what is needed to hand it on. */
interface Model extends Applied {
  /** What it is: its digest, where that is true. */
  readonly bits: string;
  /** By step. */
  readonly gradients: ReadonlyMap<number, string>;
}

interface Link {
  readonly id: number;
  readonly member: Node;
  readonly coordinator: Host;
  /** Of messages on their way, to each side; null: the connection has ended. */
  readonly toMember: (CoordinatorMessage | null)[];
  readonly toCoordinator: (MemberMessage | null)[];
}

interface Process {
  readonly name: string;
  isAlive: boolean;
  isFrozen: boolean;
  side: number;
  /** What happened while it was frozen. */
  readonly deferred: (() => void)[];
  /** Grows with each start. */
  life: number;
}

interface Node extends Process {
  state: MemberState | null;
  link: Link | null;
  /** The coordinator that has welcomed this process, or the one of its name before it, last. */
  home: Host;
  model: Model;
  checkpoint: Model;
  /** Step of the checkpoint that a coordinator knows of. */
  known: number;
  exchange: Exchange | null;
  /** Grows when what was asked for is no longer wanted. */
  request: number;
  readonly aborted: Set<string>;
}

interface Host extends Process {
  state: CoordinatorState | null;
  disk: SavedGroup | null;
  readonly links: Map<number, Link>;
  /** Actions until it is killed. */
  fuse: number;
}

/** A step of the data plane. */
interface Exchange {
  readonly work: StepWork;
  readonly begun: Map<string, Node>;
  readonly contributions: Set<string>;
}

export function hash(...parts: readonly (string | number)[]): string {
  let value = 0x811c9dc5;
  for (const char of parts.join("/")) {
    value = Math.imul(value ^ char.charCodeAt(0), 0x01000193) ^ (value >>> 15);
  }
  return (value >>> 0).toString(16).padStart(8, "0");
}

function isUndecided(reason: string): boolean {
  return reason.includes("after step") && reason.includes("differ") && reason.includes("majority");
}

function isTrue({ digest, bits }: Model): boolean {
  return bits === digest;
}

export class Simulation {
  readonly #scenario: Scenario;
  readonly #draw: (below: number) => number;
  readonly #queue: { at: number; order: number; run: () => void }[] = [];
  readonly #nodes: Node[];
  readonly #hosts: Host[];
  readonly #expected: string[] = [hash("first")];
  readonly #exchanges = new Map<string, Exchange>();
  readonly #first: Model;
  readonly #log: string[] = [];
  #now = 0;
  #order = 0;
  #links = 0;
  #isFaulty = true;
  #committed = { epoch: 0, step: 0 };
  /** The newest step that was ever committed. */
  #newest = 0;
  readonly #late = new Set<number>();
  /** The coordinator that there is once the faults have ended. */
  #kept: Host | null = null;
  /** Steps committed, and faults injected. */
  readonly counts = { commits: 0, aborts: 0, faults: 0, joins: 0, redone: 0, behind: 0, corrupted: 0 };

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.#draw = drawer(scenario.seed, Stream.test, 0);
    const process = (name: string) => ({
      name,
      isAlive: false,
      isFrozen: false,
      side: 0,
      deferred: [],
      life: 0,
    });
    const [digest] = this.#expected;
    const first = this.#first = { step: 0, digest, bits: digest, gradients: new Map() };
    this.#hosts = ["coordinator", "rival"].map((name) => ({
      ...process(name),
      state: null,
      disk: null,
      links: new Map<number, Link>(),
      fuse: Infinity,
    }));
    this.#nodes = Array.from({ length: scenario.members }, (_, i) => ({
      ...process(`m${i}`),
      state: null,
      link: null,
      home: this.#hosts[0],
      model: first,
      checkpoint: first,
      known: 0,
      exchange: null,
      request: 0,
      aborted: new Set<string>(),
    }));
  }

  /**
   * Runs until the faults end and the group has gone on for a few steps after. @throws if an invariant is
   * broken
   */
  run(): void {
    try {
      this.#startHost(this.#hosts[0]);
      for (const node of this.#nodes) this.#after(this.#draw(200), () => this.#startNode(node));
      this.#after(this.#draw(this.#scenario.faultMs) + 30, () => this.#fault());
      this.#runUntil(() => this.#now >= this.#scenario.durationMs);
      this.#heal();
      const goal = Math.max(this.#committed.step, ...this.#nodes.map(({ model }) => model.step)) + 3;
      const deadline = this.#now + 20 * HEARTBEAT + 6 * WAIT;
      const isThere = () => {
        return this.#nodes.every((node) => {
          return node.isAlive && (node.model.step >= goal || this.#canFollowNobody(node));
        });
      };
      this.#runUntil(() => this.#now > deadline || isThere());
      // One may stand aside that was in a pair with the broken one.
      const numAside = this.#nodes.filter((node) => this.#standsAside(node)).length;
      assert(this.#scenario.broken === undefined || numAside <= 2, `${numAside} stand aside`);
      assert(
        isThere(),
        `No progress to step ${goal}: ${this.#nodes.map((node) => this.#describe(node)).join(", ")}`,
      );
    } catch (error) {
      const tail = this.#log.slice(-60).join("\n");
      throw new Error(
        `Seed ${this.#scenario.seed}: ${error instanceof Error ? error.stack : error}\n${tail}`,
      );
    }
  }

  #describe({ name, isAlive, state, model }: Node): string {
    return `${name} ${isAlive ? state?.phase : "dead"} at ${model.step}`;
  }

  #note(text: string): void {
    this.#log.push(`${this.#now} ${text}`);
  }

  #after(delay: number, run: () => void): void {
    const entry = { at: this.#now + delay, order: this.#order++, run };
    let low = 0;
    let high = this.#queue.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#queue[middle].at > entry.at) low = middle + 1;
      else high = middle;
    }
    // Latest first; among equals the one that came last goes ahead, so that it is taken last.
    this.#queue.splice(low, 0, entry);
  }

  #runUntil(isDone: () => boolean): void {
    while (!isDone()) {
      const entry = this.#queue.pop();
      assert(entry !== undefined, "Nothing happens any more");
      this.#now = entry.at;
      entry.run();
    }
  }

  /** Does something in a process: now, once it is thawed, or never. */
  #within(process: Process, life: number, run: () => void): void {
    if (!process.isAlive || process.life !== life) return;
    if (process.isFrozen) process.deferred.push(() => this.#within(process, life, run));
    else run();
  }

  #canReach(a: Process, b: Process): boolean {
    return a.side === b.side;
  }

  /** Does a member fail to get what another one sends? */
  #isBroken(node: Node, other: Node): boolean {
    const [first, second] = this.#nodes;
    switch (this.#scenario.broken) {
      case undefined:
      case "gradients":
        return false;
      case "dials":
      case "receives":
        return node === first && other !== first;
      case "pair":
        return node !== other && [first, second].includes(node) && [first, second].includes(other);
    }
  }

  /** It may not get the group's newest state as long as what is broken is. */
  #canFollowNobody(node: Node): boolean {
    return this.#nodes.every((other) => other === node || this.#isBroken(node, other)) ||
      (this.#scenario.broken === "pair" && this.#nodes.indexOf(node) < 2);
  }

  #standsAside({ name }: Node): boolean {
    return this.#hosts.some(({ state }) => (state?.aside.get(name)?.until ?? 0) > this.#now);
  }

  // Faults

  #fault(): void {
    if (!this.#isFaulty) return;
    const { faults, faultMs } = this.#scenario;
    this.#inject(faults[this.#draw(faults.length)]);
    this.counts.faults++;
    this.#after(1 + this.#draw(2 * faultMs), () => this.#fault());
  }

  #inject(fault: Fault): void {
    const node = this.#nodes[this.#draw(this.#nodes.length)];
    const [host, rival] = this.#hosts;
    this.#note(`FAULT ${fault} ${node.name}`);
    switch (fault) {
      case "kill":
      case "vanish":
        if (node.isAlive) this.#killNode(node, fault === "vanish");
        return;
      case "blackout":
        for (const each of this.#nodes) {
          const late = this.#keeps(each) ? 2 * WAIT : 0;
          if (each.isAlive) this.#killNode(each, this.#draw(2) === 0, late + this.#draw(400));
        }
        if (this.#mayForget() && this.#draw(2) === 0) this.#killHost(host);
        return;
      case "freeze":
        return this.#freeze(node);
      case "freezeCoordinator":
        return this.#freeze(host);
      case "cut":
        if (node.link !== null) this.#closeLink(node.link);
        return;
      case "partition":
        for (const process of [...this.#nodes, ...this.#hosts]) process.side = this.#draw(2);
        return this.#after(50 + this.#draw(600), () => this.#join());
      case "leave":
        return this.#tell(node, { kind: "leave", finished: false });
      case "killCoordinator":
        host.fuse = this.#draw(12);
        return;
      case "rival":
        if (!rival.isAlive) this.#startHost(rival);
        return;
      case "corrupt": {
        const active = this.#nodes.filter(({ state }) => state?.phase === "working");
        // Fewer could not tell whose it is.
        const proven = active.filter(({ name }) => host.state?.members.get(name)?.isProven);
        if (proven.length < 3 || this.#nodes.some(({ model }) => !isTrue(model))) return;
        const [victim] = active;
        victim.model = { ...victim.model, bits: hash("corrupt", this.#now) };
        this.counts.corrupted++;
        return;
      }
    }
  }

  #freeze(process: Process): void {
    if (!process.isAlive || process.isFrozen) return;
    process.isFrozen = true;
    this.#after(50 + this.#draw(600), () => this.#thaw(process));
  }

  #thaw(process: Process): void {
    if (!process.isFrozen) return;
    process.isFrozen = false;
    this.#note(`${process.name} goes on`);
    for (const run of process.deferred.splice(0)) run();
  }

  #join(): void {
    this.#note("no partition");
    for (const process of [...this.#nodes, ...this.#hosts]) process.side = 0;
    for (const { links } of this.#hosts) for (const link of links.values()) this.#pumpBoth(link);
  }

  /**
   * Ends all faults. Where there were two coordinators a person keeps the one whose group is the newer, and says
   * that it is the only one.
   */
  #heal(): void {
    this.#isFaulty = false;
    this.#note("HEALED");
    for (const process of [...this.#nodes, ...this.#hosts]) this.#thaw(process);
    const [host, rival] = this.#hosts;
    host.fuse = Infinity;
    const kept = this.#kept = (rival.disk?.epoch ?? 0) > (host.disk?.epoch ?? 0) ? rival : host;
    if (rival.life > 0) {
      for (const each of this.#hosts) this.#killHost(each);
      for (const node of this.#nodes) node.home = kept;
      this.#startHost(kept, true);
    }
    this.#join();
  }

  /** What a person does when states differ and none has a majority: throws the wrong ones away. */
  #choose(): void {
    const wrong = this.#nodes.filter(({ model, checkpoint }) => !isTrue(model) || !isTrue(checkpoint));
    assert(wrong.length > 0, "No state is wrong");
    for (const node of wrong) {
      if (node.isAlive) this.#killNode(node, true);
      node.checkpoint = this.#first;
    }
  }

  // Members

  #startNode(node: Node): void {
    if (node.isAlive) return;
    node.isAlive = true;
    node.life++;
    node.model = node.checkpoint;
    node.exchange = null;
    node.aborted.clear();
    const { virtualWorkers } = this.#scenario;
    const digest = "0123456789abcdef";
    const identity = {
      run: "run",
      version: "1",
      configDigest: digest,
      tokenizerHash: digest,
      virtualWorkers,
      probe: digest,
    };
    const url = `ws://${node.name}/${node.life}`;
    const keeps: Keeps = this.#keeps(node) ? "here" : "elsewhere";
    const process = (hash(node.name) + hash(node.life)).slice(0, 16);
    const settings = {
      ...{ identity, config: [], memberId: node.name, process, url, keeps },
      totalSteps: Infinity,
    };
    node.state = createMember(settings, { step: node.model.step, digest: node.model.digest }, this.#now);
    this.#note(`${node.name} starts at step ${node.model.step}`);
    this.#connect(node, node.life);
    this.#beat(node, node.life);
  }

  #keeps(node: Node): boolean {
    return this.#nodes.indexOf(node) < (this.#scenario.keepers ?? Infinity);
  }

  /** @param awayMs until it is started again */
  #killNode(node: Node, isSilent: boolean, awayMs = 20 + this.#draw(400)): void {
    node.isAlive = false;
    node.isFrozen = false;
    node.deferred.length = 0;
    this.#leaveExchange(node, isSilent);
    if (node.link !== null && isSilent) node.link.toCoordinator.length = 0;
    if (node.link !== null && !isSilent) this.#closeLink(node.link);
    node.link = null;
    node.state = null;
    this.#after(awayMs, () => this.#startNode(node));
  }

  #connect(node: Node, life: number): void {
    this.#after(5 + this.#draw(40), () =>
      this.#within(node, life, () => {
        if (node.link !== null || node.state?.phase === "ended") return;
        const host = this.#hosts.find((other) => {
          return other.isAlive && !other.isFrozen && this.#canReach(node, other) &&
            this.#finds(other, node);
        });
        if (host === undefined) return this.#connect(node, life);
        const id = ++this.#links;
        const link: Link = {
          id,
          member: node,
          coordinator: host,
          toMember: [],
          toCoordinator: [],
        };
        host.links.set(id, link);
        node.link = link;
        this.#tell(node, { kind: "linked" });
      }));
  }

  /**
   * A rival that nobody has told of the group takes itself for the first: only who remembers may find it. And a
   * process that is started anew, which remembers nothing, is sent where the one before it was.
   */
  #finds(host: Host, { state, home }: Node): boolean {
    if ((state?.seen.epoch ?? 0) === 0) return host === home;
    const [main, rival] = this.#hosts;
    return !(main.isAlive && rival.isAlive) || this.#draw(2) === 0;
  }

  #beat(node: Node, life: number): void {
    this.#after(HEARTBEAT, () => {
      if (node.life !== life || !node.isAlive) return;
      this.#beat(node, life);
      this.#within(node, life, () => {
        this.#tell(node, { kind: "tick", saved: this.#keeps(node) ? node.checkpoint.step : undefined });
        const { state } = node;
        if (node.link === null || state === null) return;
        this.#sendUp(node.link, {
          type: "heartbeat",
          epoch: state.seen.epoch,
          step: state.applied.step,
          saved: state.saved,
          tokensPerSecond: 0,
          exposedShare: 0,
          computed: 0,
        });
      });
    });
  }

  #tell(node: Node, event: MemberEvent): void {
    if (node.state === null || !node.isAlive) return;
    const isNoise = event.kind === "tick" || (event.kind === "message" && event.message.type === "heartbeat");
    if (!isNoise) this.#note(`${node.name} ${node.state.phase} <- ${JSON.stringify(event)}`);
    const { state, actions } = advanceMember(node.state, event, this.#now);
    node.state = state;
    for (const action of actions) this.#doForNode(node, action);
    if (node.isAlive) {
      assertEquals(state.phase === "working", node.exchange !== null, `${node.name} ${state.phase}`);
    }
  }

  #doForNode(node: Node, action: MemberAction): void {
    switch (action.kind) {
      case "send":
        if (action.message.type === "ready") {
          node.exchange = null;
        }
        return node.link === null ? undefined : this.#sendUp(node.link, action.message);
      case "relink":
        if (node.link !== null) this.#closeLink(node.link);
        return;
      case "begin":
        return this.#begin(node, action.work);
      case "cancel":
        return this.#leaveExchange(node, false);
      case "apply":
        return this.#apply(node, action);
      case "copy":
        return this.#copy(node, action.donor.url);
      case "replay":
        return this.#replay(node, action.donor.url, action.step);
      case "stopFollowing":
        node.request++;
        return;
      case "restore": {
        const { life } = node;
        if (node.checkpoint.step >= (action.wrongFrom ?? Infinity)) node.checkpoint = this.#first;
        node.model = node.checkpoint;
        const { step, digest } = node.checkpoint;
        return this.#after(
          10 + this.#draw(50),
          () => this.#within(node, life, () => this.#tell(node, { kind: "restored", step, digest })),
        );
      }
      case "log":
      case "pause":
        return;
      case "end":
        if (action.refusal?.retry === false) {
          assert(isUndecided(action.refusal.reason), `${node.name} was refused: ${action.refusal.reason}`);
        }
        if (action.refusal === null && this.#keeps(node)) node.checkpoint = node.model;
        return this.#killNode(node, false);
    }
  }

  #apply(node: Node, { step, digest }: { step: number; digest: string }): void {
    const { model } = node;
    assertEquals(step, model.step + 1, `${node.name} skips or repeats a step`);
    assertEquals(digest, this.#expected[step], `${node.name} applies other bits than others`);
    const gradient = hash(step, this.#expected[step - 1]);
    assert(step <= this.#newest, `${node.name} applies step ${step}, which was not committed`);
    const gradients = new Map([...model.gradients, [step, gradient]]);
    if (this.#isNotFinite(step)) gradients.clear();
    gradients.delete(step - RETAINED);
    const bits = hash(model.bits, step, this.#isNotFinite(step) ? "skipped" : gradient);
    node.model = { step, digest, bits, gradients };
    if (step % 5 === 0 && this.#keeps(node)) node.checkpoint = node.model;
  }

  // The data plane

  #begin(node: Node, work: StepWork): void {
    const { epoch, step, members } = work;
    assertEquals(step, node.model.step + 1, `${node.name} works on the wrong step`);
    assert(!node.aborted.has(`${epoch}/${step}`), `${node.name} begins an aborted step`);
    assertEquals(work.skip && !this.#isNotFinite(step), false, `${node.name} leaves step ${step} out`);
    const isAtFault = this.#scenario.broken === "gradients" && node === this.#nodes[0] &&
      members.length > 1 &&
      this.#draw(4) === 0;
    if (this.#isNotFinite(step) || isAtFault) return this.#beginNotFinite(node, work);
    const key = `${epoch}/${step}/${members.map(({ url }) => url).join()}`;
    const exchange = this.#exchanges.get(key) ?? { work, begun: new Map(), contributions: new Set<string>() };
    this.#exchanges.set(key, exchange);
    node.exchange = exchange;
    exchange.begun.set(node.name, node);
    exchange.contributions.add(node.model.bits);
    for (const { id, url } of members) {
      const peer = this.#nodes.find(({ name }) => name === id);
      const isGone = exchange.begun.has(id) && peer?.exchange !== exchange &&
        peer?.state?.phase !== "holding";
      const isDead = peer?.state?.settings.url !== url;
      if (id !== node.name && (isGone || isDead)) this.#failLater(node, exchange, id, 1 + this.#draw(10));
    }
    if (this.#breaksDown(node, exchange) || exchange.begun.size < members.length) return;
    for (const participant of exchange.begun.values()) {
      const { life } = participant;
      const digest = () => {
        const [contribution] = exchange.contributions;
        const gradient = exchange.contributions.size === 1 ? hash(step, contribution) : hash(step, "mixed");
        return hash(participant.model.digest, step, gradient);
      };
      const workMs = 10;
      this.#after(1 + this.#draw(25), () =>
        this.#within(participant, life, () => {
          if (participant.exchange !== exchange) return;
          participant.exchange = null;
          const stateHash = participant.model.bits;
          const outcome = { epoch, step, digest: digest(), stateHash, workMs, slowest: null };
          this.#tell(participant, { kind: "reduced", ...outcome });
        }));
    }
  }

  /** Can't the exchange come to its end? Who begins it and finds so fails. */
  #breaksDown(node: Node, exchange: Exchange): boolean {
    const members = this.#nodes.filter(({ name }) => exchange.work.members.some(({ id }) => id === name));
    const others = members.filter((other) => this.#isBroken(node, other));
    if (others.length > 0) {
      const other = others[this.#draw(others.length)];
      this.#failLater(node, exchange, other.name, 1 + this.#draw(10));
      if (this.#scenario.broken === "receives") {
        this.#failLater(other, exchange, node.name, 1 + this.#draw(10));
      }
    }
    return members.some((a) => members.some((b) => this.#isBroken(a, b)));
  }

  #isNotFinite(step: number): boolean {
    const { skipEvery = 0 } = this.#scenario;
    return skipEvery > 0 && step % skipEvery === 0;
  }

  /** Finds that the step is not finite, or leaves it out: both without the others. */
  #beginNotFinite(node: Node, work: StepWork): void {
    const { epoch, step, skip } = work;
    const { life } = node;
    const exchange: Exchange = { work, begun: new Map([[node.name, node]]), contributions: new Set() };
    node.exchange = exchange;
    this.#after(1 + this.#draw(25), () =>
      this.#within(node, life, () => {
        if (node.exchange !== exchange) return;
        node.exchange = null;
        const digest = hash(node.model.digest, step, "skipped");
        if (skip) this.#tell(node, { kind: "reduced", epoch, step, digest, workMs: 0, slowest: null });
        else this.#tell(node, { kind: "failed", epoch, step, peer: null, reason: "not finite", skip: true });
      }));
  }

  #leaveExchange(node: Node, isSilent: boolean): void {
    const { exchange } = node;
    node.exchange = null;
    if (exchange === null) return;
    const isWhole = exchange.begun.size === exchange.work.members.length;
    for (const peer of exchange.begun.values()) {
      if (peer.exchange !== exchange || (isWhole && this.#draw(2) === 0)) continue;
      this.#failLater(peer, exchange, node.name, isSilent ? 3 * HEARTBEAT : 1 + this.#draw(10));
    }
  }

  #failLater(node: Node, exchange: Exchange, peer: string, delay: number): void {
    const { epoch, step } = exchange.work;
    this.#after(delay, () =>
      this.#within(node, node.life, () => {
        if (node.exchange !== exchange) return;
        node.exchange = null;
        this.#tell(node, { kind: "failed", epoch, step, peer, reason: "the connection has ended" });
      }));
  }

  #ask(node: Node, url: string, delay: number, answer: (donor: Node | null) => MemberEvent): void {
    const request = ++node.request;
    const { life } = node;
    this.#after(delay, () =>
      this.#within(node, life, () => {
        if (node.request !== request) return;
        const donor = this.#nodes.find(({ state }) => state?.settings.url === url);
        const isThere = donor !== undefined && donor.isAlive && !donor.isFrozen &&
          this.#canReach(node, donor) && !this.#isBroken(node, donor) &&
          donor.state?.phase !== "copying" && donor.state?.phase !== "restoring";
        this.#tell(node, answer(isThere ? donor : null));
      }));
  }

  #copy(node: Node, url: string): void {
    this.#ask(node, url, 5 + this.#draw(100), (donor) => {
      if (donor === null) return { kind: "donorFailed", lacks: false, reason: "it is gone" };
      node.model = donor.model;
      this.counts.joins++;
      return { kind: "copied", step: node.model.step, digest: node.model.digest };
    });
  }

  #replay(node: Node, url: string, step: number): void {
    this.#ask(node, url, 1 + this.#draw(10), (donor) => {
      if (donor === null) return { kind: "donorFailed", lacks: false, reason: "it is gone" };
      const gradient = donor.model.gradients.get(step);
      if (gradient === undefined) return { kind: "donorFailed", lacks: true, reason: "it has forgotten" };
      return { kind: "replayed", step, digest: hash(node.model.digest, step, gradient) };
    });
  }

  // The coordinators

  #startHost(host: Host, force = false): void {
    if (host.isAlive) return;
    host.isAlive = true;
    host.life++;
    host.fuse = Infinity;
    const settings = { minMembers: 1, waitMs: WAIT, heartbeatMs: HEARTBEAT, force };
    host.state = createCoordinator(settings, host.disk);
    this.#note(`${host.name} starts with ${JSON.stringify(host.disk)}`);
    this.#tick(host, host.life);
  }

  #killHost(host: Host): void {
    if (!host.isAlive) return;
    this.#note(`${host.name} is killed`);
    host.isAlive = false;
    host.isFrozen = false;
    host.deferred.length = 0;
    host.state = null;
    for (const link of host.links.values()) {
      link.toCoordinator.length = 0;
      this.#sendDown(link, null);
    }
    host.links.clear();
    if (host === this.#hosts[0] || !this.#isFaulty) {
      this.#after(20 + this.#draw(300), () => this.#restartHost(host));
    }
  }

  #restartHost(host: Host): void {
    if ((this.#kept ?? host) === host) this.#startHost(host);
  }

  #tick(host: Host, life: number): void {
    this.#after(HEARTBEAT / 2, () => {
      if (host.life !== life || !host.isAlive) return;
      this.#tick(host, life);
      if (!host.isFrozen) this.#advanceHost(host, { kind: "tick" });
    });
  }

  #advanceHost(host: Host, event: Parameters<typeof advanceCoordinator>[1]): void {
    const before = host.state;
    if (before === null) return;
    const { state, actions } = advanceCoordinator(before, event, this.#now);
    host.state = state;
    const commits = actions.flatMap((action) => {
      return action.kind === "send" && action.message.type === "commit" ? [action.message] : [];
    });
    // What is held of an older epoch may be the same step.
    const [commit] = commits.sort((a, b) => b.epoch - a.epoch);
    const isNew = commit !== undefined &&
      (before.phase === "training" ? state.step > before.step : commit.step > this.#committed.step);
    if (isNew) this.#checkCommit(host, commit.epoch, state);
    for (const action of actions) {
      if (!host.isAlive) return;
      if (host.fuse-- <= 0) return this.#killHost(host);
      this.#doForHost(host, action);
    }
  }

  /**
   * Commits, whichever coordinator says them, are of growing epochs: no two groups train. But one that wakes
   * up late may read that all were ready and say so once, to nobody.
   */
  #checkCommit(host: Host, epoch: number, { step, digest, members }: CoordinatorState): void {
    this.#note(`${host.name} commits step ${step} in epoch ${epoch}`);
    const before = this.#expected[step - 1];
    this.#expected[step] = hash(before, step, this.#isNotFinite(step) ? "skipped" : hash(step, before));
    assertEquals(
      digest,
      this.#expected[step],
      `Step ${step} is committed with other bits than one process's`,
    );
    if (epoch < this.#committed.epoch) {
      assert(!this.#late.has(epoch), `Epoch ${epoch} goes on although ${this.#committed.epoch} does`);
      this.#late.add(epoch);
      return;
    }
    for (const { id, appliedStep } of members.values()) {
      assert(appliedStep <= step, `Step ${step} is done again although ${id} is here with ${appliedStep}`);
    }
    const kept = Math.max(...this.#nodes.map(({ known }) => known));
    if (step <= kept - LAG) {
      this.counts.behind++;
      assert(this.#mayForget(), `Step ${step} is done again although ${kept} are kept`);
    }
    // The same commit again: the coordinator that said it was lost, or frozen in the middle of it.
    if (epoch === this.#committed.epoch && step === this.#committed.step) return;
    if (epoch === this.#committed.epoch) assertEquals(step, this.#committed.step + 1, `Epoch ${epoch} skips`);
    if (step <= this.#committed.step) this.counts.redone++;
    this.#committed = { epoch, step };
    this.#newest = Math.max(this.#newest, step);
    this.counts.commits++;
  }

  /** A coordinator that is always there knows how far the group was, and waits for who keeps that. */
  #mayForget(): boolean {
    return this.#scenario.faults.some((fault) => /coordinator|rival|partition/i.test(fault));
  }

  #doForHost(host: Host, action: CoordinatorAction): void {
    switch (action.kind) {
      case "send": {
        const link = host.links.get(action.link);
        if (link !== undefined) this.#sendDown(link, action.message);
        return;
      }
      case "close": {
        const link = host.links.get(action.link);
        if (link === undefined) return;
        host.links.delete(link.id);
        link.toCoordinator.length = 0;
        return this.#sendDown(link, null);
      }
      case "persist":
        host.disk = action.group;
        return;
      case "log":
        return this.#note(`${host.name}: ${action.text}`);
      case "finished":
        return;
      case "stop":
        this.#note(`${host.name} stops: ${action.reason}`);
        if (isUndecided(action.reason)) this.#choose();
        else assert(action.reason.includes("another one coordinates"), action.reason);
        return this.#killHost(host);
    }
  }

  // Connections: messages arrive in order, after any delay; a partition holds them back.

  #sendUp(link: Link, message: MemberMessage | null): void {
    link.toCoordinator.push(
      this.#scenario.isChecked && message ? parseMemberMessage(JSON.stringify(message)) : message,
    );
    this.#after(1 + this.#draw(10), () => this.#pumpUp(link));
  }

  #sendDown(link: Link, message: CoordinatorMessage | null): void {
    link.toMember.push(
      this.#scenario.isChecked && message ? parseCoordinatorMessage(JSON.stringify(message)) : message,
    );
    this.#after(1 + this.#draw(10), () => this.#pumpDown(link));
  }

  #pumpBoth(link: Link): void {
    for (const _ of [...link.toCoordinator]) this.#after(1, () => this.#pumpUp(link));
    for (const _ of [...link.toMember]) this.#after(1, () => this.#pumpDown(link));
  }

  #pumpUp(link: Link): void {
    const { coordinator, member } = link;
    if (!coordinator.links.has(link.id) || !this.#canReach(coordinator, member)) return;
    this.#within(coordinator, coordinator.life, () => {
      if (!coordinator.links.has(link.id)) return;
      const message = link.toCoordinator.shift();
      if (message === undefined) return;
      if (message === null) coordinator.links.delete(link.id);
      if (message?.type === "hello" || message?.type === "heartbeat") member.known = message.saved ?? 0;
      this.#advanceHost(
        coordinator,
        message === null ? { kind: "closed", link: link.id } : { kind: "message", link: link.id, message },
      );
    });
  }

  #pumpDown(link: Link): void {
    const { coordinator, member } = link;
    if (member.link !== link || !this.#canReach(coordinator, member)) return;
    this.#within(member, member.life, () => {
      if (member.link !== link) return;
      const message = link.toMember.shift();
      if (message === undefined) return;
      if (message === null) {
        member.link = null;
        this.#tell(member, { kind: "unlinked" });
        if (member.isAlive) this.#connect(member, member.life);
        return;
      }
      if (message.type === "welcome" && coordinator.isAlive) member.home = coordinator;
      if (message.type === "abort") member.aborted.add(`${message.epoch}/${message.step}`);
      if (message.type === "abort") this.counts.aborts++;
      this.#tell(member, { kind: "message", message });
    });
  }

  /** Ends a connection from the member's side; both notice. */
  #closeLink(link: Link): void {
    this.#sendUp(link, null);
    const { member } = link;
    member.link = null;
    if (!member.isAlive) return;
    this.#tell(member, { kind: "unlinked" });
    if (member.isAlive) this.#connect(member, member.life);
  }
}
