import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { advanceCoordinator, createCoordinator } from "../../src/net/coordinator/coordinatorState.ts";
import type { CoordinatorEvent } from "../../src/net/coordinator/types.ts";
import { advanceMember, createMember } from "../../src/net/member/memberState.ts";
import type { MemberAction, MemberEvent, StepWork } from "../../src/net/member/types.ts";
import { digestOf, IDENTITY } from "./coordinatorBench.ts";

const FIRST = { step: 0, digest: digestOf(0) };

/** A member whose steps, copies and replays take as long as a test wants. */
class Member {
  state;
  work: StepWork | null = null;
  isCopying = false;
  /** The step whose sum it has asked for. */
  fetching: number | null = null;

  constructor(readonly link: number, readonly group: InstantGroup) {
    const memberId = `m${link}`;
    const own = { memberId, process: `${link}`.padStart(16, "0"), url: `ws://${memberId}/` };
    const keeps = "nowhere" as const;
    const settings = { identity: IDENTITY, config: [], ...own, keeps, totalSteps: 1000 };
    this.state = createMember(settings, FIRST, 0);
  }

  tell(event: MemberEvent): void {
    const { state, actions } = advanceMember(this.state, event, 0);
    this.state = state;
    for (const action of actions) this.#carryOut(action);
  }

  #carryOut(action: MemberAction): void {
    if (action.kind === "send") this.group.send(this.link, action.message);
    else if (action.kind === "begin") this.work = action.work;
    else if (action.kind === "cancel") this.work = null;
    else if (action.kind === "copy") this.isCopying = true;
    else if (action.kind === "replay") this.fetching = action.step;
    else if (action.kind === "stopFollowing") this.fetching = null;
    else assert(action.kind === "apply" || action.kind === "log", `${action.kind} of a group without faults`);
  }

  /** Adds a sum of the others, if it has asked for one, and they have it still. */
  replay(): void {
    const step = this.fetching;
    this.fetching = null;
    if (step === null) return;
    const lacks = step <= this.group.step - this.group.kept;
    if (lacks) this.tell({ kind: "donorFailed", lacks, reason: `no sum of step ${step}` });
    else this.tell({ kind: "replayed", step, digest: digestOf(step) });
  }

  /** Has the state of the others as it was after a step. */
  copied(step: number): void {
    this.isCopying = false;
    this.tell({ kind: "copied", step, digest: digestOf(step) });
  }
}

/** A coordinator and members between whom messages take no time. */
class InstantGroup {
  readonly #members: Member[] = [];
  #coordinator = createCoordinator({ minMembers: 1, waitMs: 0, heartbeatMs: 1000, force: false }, null);
  readonly #queue: (() => void)[] = [];
  #isRunning = false;

  /** @param kept sums of so many steps are there to be replayed */
  constructor(readonly kept: number) {}

  get step(): number {
    return this.#coordinator.step;
  }

  join(): Member {
    const member = new Member(this.#members.length, this);
    this.#members.push(member);
    member.tell({ kind: "linked" });
    return member;
  }

  send(link: number, message: Extract<CoordinatorEvent, { kind: "message" }>["message"]): void {
    this.#soon(() => this.#advance({ kind: "message", link, message }));
  }

  /** The members of the epoch do a step. @returns how many */
  doStep(): number {
    const { step } = this;
    const working = this.#members.filter(({ work }) => work !== null);
    for (const member of working) {
      const { epoch, step } = member.work!;
      member.work = null;
      member.tell({ kind: "reduced", epoch, step, digest: digestOf(step), workMs: 1, slowest: null });
    }
    assertEquals(this.step, step + 1, "the step was not committed");
    return working.length;
  }

  #advance(event: CoordinatorEvent): void {
    const { state, actions } = advanceCoordinator(this.#coordinator, event, 0);
    this.#coordinator = state;
    for (const action of actions) {
      if (action.kind !== "send") continue;
      const { link, message } = action;
      this.#soon(() => this.#members[link].tell({ kind: "message", message }));
    }
  }

  /** In the order in which they were sent. */
  #soon(deliver: () => void): void {
    this.#queue.push(deliver);
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) next();
    this.#isRunning = false;
  }
}

for (const copySteps of [0, 1, 2, 7, 30]) {
  for (const replaysAStep of [0, 1, 2, 5]) {
    for (const kept of [2, 64]) {
      const what = `a copy of ${copySteps} steps, adding ${replaysAStep} of ${kept} kept sums a step`;
      Deno.test(`a newcomer enters within two steps after ${what}`, () => {
        const group = new InstantGroup(kept);
        group.join();
        for (let i = 0; i < 3; i++) assertEquals(group.doStep(), 1);
        const newcomer = group.join();
        assert(newcomer.isCopying);
        const from = group.step;
        for (let i = 0; i < copySteps; i++) assertEquals(group.doStep(), 1);
        newcomer.copied(from);

        const end = group.step;
        while (newcomer.state.epoch === null) {
          for (let i = 0; i < replaysAStep; i++) newcomer.replay();
          assert(!newcomer.isCopying, "it copies again while the others go on");
          assertEquals(group.doStep(), 1);
          assertLessOrEqual(group.step, end + 2, "a third step was done without it");
        }
        // The others wait for the sums that it lacks, or for another copy.
        while (newcomer.fetching !== null) newcomer.replay();
        if (newcomer.isCopying) newcomer.copied(group.step);
        assertEquals(newcomer.state.applied, { step: group.step, digest: digestOf(group.step) });
        assertEquals(group.doStep(), 2);
      });
    }
  }
}
