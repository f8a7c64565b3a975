import { assert, assertEquals, assertMatch } from "@std/assert";
import { type CoordinatorMessage, parseMemberMessage } from "../../src/net/control/messages.ts";
import { advanceMember, createMember } from "../../src/net/member/memberState.ts";
import { describeEpoch } from "../../src/net/member/news.ts";
import type { MemberAction, MemberEvent, MemberState } from "../../src/net/member/types.ts";
import { digestOf, IDENTITY } from "./coordinatorBench.ts";

const MEMBERS = ["m1", "m2", "m3"].map((id) => ({ id, url: `ws://${id}/` }));

class Bench {
  state: MemberState;
  now = 0;
  /** What people were told of the group. */
  news: string[] = [];

  /** @param step of the state that the member starts with */
  constructor(step = 0, isBlank = false) {
    const config: [string, string][] = [["seed", "7"]];
    const process = "0123456789abcdef";
    const settings = {
      identity: IDENTITY,
      config,
      memberId: "m2",
      process,
      url: "ws://m2/",
      keeps: "nowhere" as const,
      totalSteps: 100,
    };
    this.state = createMember(settings, { step, digest: digestOf(step) }, 0, isBlank);
  }

  does(event: MemberEvent): MemberAction[] {
    const { state, actions } = advanceMember(this.state, event, this.now);
    for (const action of actions) {
      if (action.kind === "send") parseMemberMessage(JSON.stringify(action.message));
    }
    this.state = state;
    return actions.filter((action) => {
      const isNews = action.kind === "log" && action.level === "news";
      if (isNews) this.news.push(action.text);
      return !isNews;
    });
  }

  /** What people were told since this was last asked. */
  told(): string[] {
    return this.news.splice(0);
  }

  hears(message: CoordinatorMessage): MemberAction[] {
    return this.does({ kind: "message", message });
  }

  /** An epoch with m1, m2 and m3, or without m2. */
  epoch(epoch: number, step: number, isIn = true, donor = isIn ? null : "m3"): MemberAction[] {
    const members = MEMBERS.filter(({ id }) => isIn || id !== "m2");
    return this.hears({
      type: "epoch",
      epoch,
      step,
      digest: digestOf(step - 1),
      members,
      spares: [],
      donor,
      skip: false,
    });
  }

  reduces(epoch: number, step: number): MemberAction[] {
    return this.does({ kind: "reduced", epoch, step, digest: digestOf(step), workMs: 5, slowest: null });
  }

  commits(epoch: number, step: number, digest = digestOf(step)): MemberAction[] {
    return this.hears({ type: "commit", epoch, step, digest });
  }
}

function kinds(actions: readonly MemberAction[]): string[] {
  return actions.map((action) => (action.kind === "send" ? action.message.type : action.kind));
}

/** A member that works on step 1 of epoch 1. */
function working(): Bench {
  const bench = new Bench();
  assertEquals(kinds(bench.does({ kind: "linked" })), ["hello"]);
  const [action] = bench.epoch(1, 1);
  assert(action.kind === "begin");
  assertEquals(action.work, { epoch: 1, step: 1, members: MEMBERS, share: { from: 2, to: 5 }, skip: false });
  return bench;
}

/** A member that holds step 1 of epoch 1. */
function holding(): Bench {
  const bench = working();
  assertEquals(kinds(bench.reduces(1, 1)), ["ready"]);
  return bench;
}

Deno.test("a member applies what is committed and begins the next step", () => {
  const bench = holding();
  const actions = bench.commits(1, 1);
  assertEquals(kinds(actions), ["apply", "begin"]);
  assertEquals(bench.state.applied, { step: 1, digest: digestOf(1) });
  assertEquals(kinds(bench.commits(1, 1)), []);
});

Deno.test("before ready a member gives up when a peer fails, after it only the coordinator's word counts", () => {
  const failure = { kind: "failed", epoch: 1, step: 1, peer: "m3", reason: "its socket has closed" } as const;
  const before = working();
  assertEquals(kinds(before.does(failure)), ["cancel", "failed"]);
  assertEquals(before.reduces(1, 1), []);
  assertEquals(before.commits(1, 1), []);

  const after = holding();
  assertEquals(after.does(failure), []);
  assertEquals(kinds(after.commits(1, 1)), ["apply", "begin"]);
});

Deno.test("while the coordinator has the group wait, no time is counted", () => {
  const hold = { type: "hold", reason: "m3 may be training elsewhere" } as const;
  const ready = holding();
  assertEquals(kinds(ready.hears(hold)), ["pause"]);
  ready.commits(1, 1);
  assertEquals(kinds(ready.reduces(1, 2)), ["ready"]);

  const busy = working();
  assertEquals(busy.hears(hold), []);
  assertEquals(kinds(busy.reduces(1, 1)), ["ready", "pause"]);
});

Deno.test("a member tells its config once a link", () => {
  const bench = new Bench();
  const configs = (actions: MemberAction[]) =>
    actions.flatMap((action) =>
      action.kind === "send" && action.message.type === "hello" ? [action.message.config] : []
    );
  assertEquals(configs(bench.does({ kind: "linked" })), [[["seed", "7"]]]);
  bench.epoch(1, 1);
  assertEquals(configs(bench.hears({ type: "abort", epoch: 1, step: 1, reason: "lost" })), [null]);
  bench.does({ kind: "unlinked" });
  assertEquals(configs(bench.does({ kind: "linked" })), [[["seed", "7"]]]);
});

Deno.test("an aborted step is dropped and never applied", () => {
  const bench = holding();
  const abort = { type: "abort", epoch: 1, step: 1, reason: "m3 is lost" } as const;
  assertEquals(kinds(bench.hears(abort)), ["cancel", "hello"]);
  assertEquals(bench.commits(1, 1), []);
  assertEquals(bench.reduces(1, 1), []);
  assertEquals(kinds(bench.epoch(2, 1)), ["begin"]);
});

Deno.test("a step that all would find not finite is told so, and the epoch that leaves it out goes on after it", () => {
  const bench = working();
  const event = { kind: "failed", epoch: 1, step: 1, peer: null, reason: "NaN", skip: true } as const;
  const told = bench.does(event).at(-1);
  assert(told?.kind === "send" && told.message.type === "failed" && told.message.skip);
  bench.hears({ type: "abort", epoch: 1, step: 1, reason: "skip" });
  const message = {
    type: "epoch",
    epoch: 2,
    step: 1,
    digest: digestOf(0),
    members: MEMBERS,
    donor: null,
  } as const;
  const skips = (actions: MemberAction[]) =>
    actions.flatMap((action) => (action.kind === "begin" ? [action.work.skip] : []));
  assertEquals(skips(bench.hears({ ...message, members: [...MEMBERS], spares: [], skip: true })), [true]);
  bench.reduces(2, 1);
  assertEquals(skips(bench.commits(2, 1)), [false]);
});

Deno.test("words of an older epoch don't count", () => {
  const bench = working();
  bench.epoch(5, 1);
  bench.reduces(5, 1);
  assertEquals(bench.commits(1, 1), []);
  assertEquals(bench.hears({ type: "abort", epoch: 4, step: 1, reason: "old" }), []);
  assertEquals(bench.epoch(4, 1), []);
  assertEquals(bench.epoch(5, 1), []);
  assertEquals(bench.commits(6, 1), []);
  assertEquals(kinds(bench.commits(5, 1)), ["apply", "begin"]);
});

Deno.test("a follower heeds no commit of an older epoch", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  bench.epoch(5, 1, false);
  assertEquals(bench.commits(4, 1), []);
  assertEquals(kinds(bench.commits(5, 1)), ["replay"]);
});

Deno.test("what is held outlives the coordinator and is said to the next one", () => {
  const bench = holding();
  assertEquals(kinds(bench.does({ kind: "unlinked" })), ["pause"]);
  const [action] = bench.does({ kind: "linked" });
  assert(action.kind === "send" && action.message.type === "hello");
  assertEquals(action.message.held, { epoch: 1, step: 1, digest: digestOf(1) });
  assertEquals(action.message.group, { epoch: 1, members: ["m1", "m2", "m3"] });
  assertEquals(kinds(bench.commits(1, 1)), ["apply"]); // the next step waits for an epoch
  assertEquals(kinds(bench.epoch(2, 2)), ["begin"]);
});

Deno.test("a step that is under way may end while the coordinator is gone, but not across its return", () => {
  const bench = working();
  assertEquals(bench.does({ kind: "unlinked" }), []);
  assertEquals(kinds(bench.reduces(1, 1)), ["pause"]);
  const [action] = bench.does({ kind: "linked" });
  assert(action.kind === "send" && action.message.type === "hello" && action.message.held !== null);

  const late = working();
  late.does({ kind: "unlinked" });
  assertEquals(kinds(late.does({ kind: "linked" })), ["cancel", "hello"]);
  assertEquals(late.reduces(1, 1), []);
});

Deno.test("a member whose held digest is not the committed one goes back to its own checkpoint", () => {
  const bench = holding();
  const actions = bench.commits(1, 1, digestOf(1, 1));
  assertEquals(kinds(actions), ["log", "cancel", "restore"]);
  assertEquals(kinds(bench.does({ kind: "restored", step: 0, digest: digestOf(0) })), ["hello"]);
});

Deno.test("a newcomer copies, replays committed steps alone, says that it has caught up and enters", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  const [copy] = bench.epoch(4, 11, false);
  assert(copy.kind === "copy");
  assertEquals(copy.donor.id, "m3");
  bench.commits(4, 11);
  const [replay] = bench.does({ kind: "copied", step: 9, digest: digestOf(9) });
  assert(replay.kind === "replay");
  assertEquals(replay.step, 10);
  assertEquals(kinds(bench.does({ kind: "replayed", step: 10, digest: digestOf(10) })), [
    "apply",
    "caughtUp",
    "replay",
  ]);
  bench.commits(4, 12);
  assertEquals(kinds(bench.does({ kind: "replayed", step: 11, digest: digestOf(11) })), ["apply", "replay"]);
  // It enters with step 13 although it lacks step 12 still.
  assertEquals(kinds(bench.epoch(5, 13, true, "m1")), ["stopFollowing", "replay"]);
  assertEquals(kinds(bench.does({ kind: "replayed", step: 12, digest: digestOf(12) })), ["apply", "begin"]);
});

Deno.test("a member without a state says so, and copies one even at the group's first step", () => {
  const bench = new Bench(0, true);
  const isBlank = (actions: MemberAction[]) =>
    actions.flatMap((action) =>
      action.kind === "send" && action.message.type === "hello" ? [action.message.isBlank] : []
    );
  assertEquals(isBlank(bench.does({ kind: "linked" })), [true]);
  assertEquals(kinds(bench.epoch(1, 1, false)), ["copy"]);
  assertEquals(kinds(bench.does({ kind: "donorFailed", lacks: false, reason: "it is gone" })), [
    "log",
    "stopFollowing",
    "restore",
  ]);
  assertEquals(isBlank(bench.does({ kind: "restored", step: 0, digest: digestOf(0), isBlank: true })), [
    true,
  ]);
  assertEquals(kinds(bench.epoch(1, 1, false)), ["copy"]);
  bench.does({ kind: "copied", step: 0, digest: digestOf(0) });
  bench.does({ kind: "unlinked" });
  assertEquals(isBlank(bench.does({ kind: "linked" })), [false]);
});

Deno.test("a replayed gradient with a wrong digest is not applied", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  bench.epoch(4, 11, false);
  bench.does({ kind: "copied", step: 9, digest: digestOf(9) });
  const actions = bench.does({ kind: "replayed", step: 10, digest: digestOf(10, 1) });
  assert(!kinds(actions).includes("apply"));
  assertEquals(bench.state.applied.step, 9);
});

Deno.test("who copies a state that is not the group's has not caught up, and copies anew", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  bench.epoch(4, 11, false);
  bench.commits(4, 11);
  assertEquals(kinds(bench.does({ kind: "copied", step: 10, digest: digestOf(10, 1) })), ["replay"]);
  assertEquals(kinds(bench.does({ kind: "replayed", step: 11, digest: digestOf(11, 1) })), ["log", "copy"]);
});

Deno.test("a member whose state is not what its digest says goes back to what it has kept before, and copies the others'", () => {
  const bench = new Bench(7);
  bench.does({ kind: "linked" });
  bench.epoch(1, 8);
  const reduced = {
    kind: "reduced",
    epoch: 1,
    step: 8,
    digest: digestOf(8),
    stateHash: "bad00000",
    workMs: 5,
    slowest: null,
  } as const;
  const [ready] = bench.does(reduced);
  assert(ready.kind === "send" && ready.message.type === "ready" && ready.message.stateHash === "bad00000");
  const reason = "m2 has other weights";
  const actions = bench.hears({ type: "abort", epoch: 1, step: 8, reason, isWrong: true });
  assertEquals(actions, [{ kind: "cancel" }, { kind: "restore", wrongFrom: 6 }]);
  assertEquals(bench.epoch(2, 8, false), []); // the others don't wait
  const [hello] = bench.does({ kind: "restored", step: 5, digest: digestOf(5) });
  assert(hello.kind === "send" && hello.message.type === "hello");
  const { isProven, survives, appliedStep } = hello.message;
  assertEquals({ isProven, survives, appliedStep }, { isProven: false, survives: false, appliedStep: 5 });
  assertEquals(kinds(bench.epoch(2, 8, false)), ["copy"]);
  assertEquals(kinds(bench.does({ kind: "copied", step: 7, digest: digestOf(7) })), ["caughtUp"]);
});

Deno.test("a copy that breaks off is replaced by the member's own checkpoint before it says hello", () => {
  const bench = new Bench(3);
  bench.does({ kind: "linked" });
  assertEquals(kinds(bench.epoch(4, 11, false)), ["copy"]);
  const lost = { kind: "donorFailed", lacks: false, reason: "it is gone" } as const;
  const [log, ...others] = bench.does(lost);
  assert(log.kind === "log" && log.text.includes("from m3 broke off (it is gone): it is begun again"));
  assertEquals(kinds(others), ["stopFollowing", "restore"]);
  assertEquals(bench.hears({ type: "abort", epoch: 4, step: 11, reason: "lost" }), []);
  assertEquals(kinds(bench.does({ kind: "restored", step: 3, digest: digestOf(3) })), ["hello"]);
});

Deno.test("a spare keeps its state when its donor is gone, and asks again", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  assertEquals(kinds(bench.epoch(1, 1, false)), ["caughtUp"]);
  assertEquals(kinds(bench.commits(1, 1)), ["replay"]);
  assertEquals(bench.does({ kind: "donorFailed", lacks: false, reason: "it is gone" }), []);
  assertEquals(kinds(bench.does({ kind: "tick" })), ["replay"]);
  assertEquals(kinds(bench.hears({ type: "abort", epoch: 1, step: 2, reason: "lost" })), [
    "stopFollowing",
    "hello",
  ]);
  assertEquals(kinds(bench.epoch(2, 1)), ["begin"]);
});

Deno.test("a spare says once an epoch why it stands by, and that it enters", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  const epoch = (number: number, members: string[], spares: string[]) => {
    bench.hears({
      ...{ type: "epoch", epoch: number, step: 1, digest: digestOf(0), donor: "m3", skip: false },
      ...{ members: MEMBERS.filter(({ id }) => members.includes(id)), spares },
    });
    return bench.told();
  };
  assertEquals(epoch(1, ["m1", "m3"], []), []); // it still follows
  const line = "Step 1 begins with 2 nodes; this one stands by";
  assertEquals([epoch(2, ["m1", "m3"], ["m2"]), epoch(2, ["m1", "m3"], ["m2"])], [[line], []]);
  assertEquals(epoch(3, ["m2", "m3"], []), [
    "This node enters: step 1 begins with 2 nodes, without m1; this one has 4 of 8 virtual workers",
  ]);
  const full = {
    step: 1,
    isAgain: false,
    waitedMs: null,
    before: [],
    members: ["m1", "m3"],
    virtualWorkers: 2,
  };
  assertEquals(
    describeEpoch({ ...full, self: "m2", spares: ["m2"] }),
    `${line}: 2 virtual workers are shared by 3 nodes`,
  );
});

Deno.test("a member tells why a step is begun again, with how many nodes, who is new, and what it has itself", () => {
  const bench = working();
  assertEquals(bench.told(), ["Step 1 begins with 3 nodes; this one has 3 of 8 virtual workers"]);
  const reason = "m3 is lost: its connection has ended; step 1 is begun again";
  bench.hears({ type: "abort", epoch: 1, step: 1, reason });
  const epoch = (number: number, step: number, ids: string[]) => {
    bench.hears({
      ...{ type: "epoch", epoch: number, step, digest: digestOf(step - 1), donor: null, skip: false },
      ...{ members: MEMBERS.filter(({ id }) => ids.includes(id)), spares: [] },
    });
    return bench.told();
  };
  assertEquals(epoch(2, 1, ["m1", "m2"]), [
    reason,
    "Step 1 begins again with 2 nodes, without m3; this one has 4 of 8 virtual workers",
  ]);
  bench.reduces(2, 1);
  bench.commits(2, 1);
  bench.hears({ type: "abort", epoch: 2, step: 2, reason: "m1 has given the step up" });
  assertEquals(epoch(3, 2, ["m1", "m2"]).slice(1), [
    "Step 2 begins again with 2 nodes; this one has 4 of 8 virtual workers",
  ]);
  bench.reduces(3, 2);
  bench.commits(3, 2);
  bench.reduces(3, 3);
  bench.commits(3, 3);
  assertEquals(epoch(4, 4, ["m1", "m2"]), []); // another spare, perhaps: nothing has changed here
  bench.does({ kind: "unlinked" });
  bench.does({ kind: "linked" });
  assertEquals(epoch(5, 4, ["m1", "m2"]), [
    "Step 4 begins again with 2 nodes; this one has 4 of 8 virtual workers",
  ]);
  bench.reduces(5, 4);
  bench.hears({ type: "hold", reason: "Waits: m3 may be training elsewhere" });
  bench.now += 7000;
  bench.commits(5, 4);
  assertEquals(bench.told().slice(1), ["Step 4 is done after 7 s, and the run goes on"]);
  bench.hears({ type: "abort", epoch: 5, step: 5, reason: "m1 is lost: it was silent for 3 s" });
  bench.hears({ type: "hold", reason: "Waits: m1 may be training elsewhere" });
  bench.now += 61_000;
  assertEquals(epoch(6, 5, ["m2", "m3"]).slice(1), [
    "Waits: m1 may be training elsewhere",
    "Step 5 begins again with 2 nodes, without m1, m3 new, after 61 s; this one has 4 of 8 virtual workers",
  ]);
});

Deno.test("without the coordinator a member itself tells whom it has lost", () => {
  const bench = working();
  bench.told();
  bench.does({ kind: "unlinked" });
  const reason = "Member m3 is lost: peer was lost";
  bench.does({ kind: "failed", epoch: 1, step: 1, peer: "m3", reason });
  assertEquals(bench.told(), [`Step 1 can't be done and waits for the coordinator: ${reason}`]);
});

Deno.test("a spare that its donor can't serve any more takes back that it has caught up, and copies", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  bench.epoch(1, 1, false);
  bench.commits(1, 1);
  assertEquals(kinds(bench.does({ kind: "donorFailed", lacks: true, reason: "forgotten" })), [
    "stopFollowing",
    "hello",
  ]);
  assertEquals(kinds(bench.epoch(1, 2, false)), ["copy"]);
});

Deno.test("who enters an epoch and lacks a sum copies while the others wait; who can't, blames its donor", () => {
  const entering = () => {
    const bench = new Bench();
    bench.does({ kind: "linked" });
    bench.epoch(1, 1, false);
    assertEquals(kinds(bench.epoch(2, 2, true, "m1")), ["stopFollowing", "replay"]);
    return bench;
  };
  const isGone = { kind: "donorFailed", lacks: false, reason: "it is gone" } as const;
  const lacks = { kind: "donorFailed", lacks: true, reason: "no sum of step 1" } as const;
  const blamed = (actions: MemberAction[]) =>
    actions.flatMap((action) =>
      action.kind === "send" && action.message.type === "failed" ? [action.message.peer] : []
    );

  const copied = entering();
  assertEquals(kinds(copied.does(lacks)), ["copy"]);
  assertEquals(kinds(copied.does({ kind: "copied", step: 1, digest: digestOf(1) })), ["begin"]);

  assertEquals(blamed(entering().does(isGone)), ["m1"]);
  const cutOff = entering();
  cutOff.does(lacks);
  const actions = cutOff.does(isGone);
  assertEquals(kinds(actions), ["log", "stopFollowing", "restore", "failed"]);
  assertEquals(blamed(actions), ["m1"]);

  const aborted = entering();
  aborted.does(lacks);
  assertEquals(aborted.epoch(3, 2, false, "m1"), []); // without it, which goes on copying
  assertEquals(kinds(aborted.does({ kind: "copied", step: 1, digest: digestOf(1) })), ["caughtUp"]);
});

Deno.test("who has caught up while the group gathered, and is not counted for it, says so again", () => {
  const bench = new Bench();
  bench.does({ kind: "linked" });
  assertEquals(kinds(bench.epoch(1, 1, false)), ["caughtUp"]);
  assertEquals(kinds(bench.epoch(2, 1, false)), ["caughtUp"]);
});

Deno.test("a newcomer that has copied for longer than sums are kept waits until it is in an epoch, or the run is over", () => {
  const lacks = { kind: "donorFailed", lacks: true, reason: "no sum of step 10" } as const;
  const lacking = (step: number) => {
    const bench = new Bench();
    bench.does({ kind: "linked" });
    assertEquals(kinds(bench.epoch(4, step, false)), ["copy"]);
    for (let i = 0; i < 3; i++) bench.commits(4, step + i);
    const copied = { kind: "copied", step: step - 1, digest: digestOf(step - 1) } as const;
    assertEquals(kinds(bench.does(copied)), ["replay"]);
    assertEquals(bench.does(lacks), []);
    assertEquals(bench.does({ kind: "tick" }), []);
    return bench;
  };
  const bench = lacking(10);
  assertEquals(kinds(bench.commits(4, 13)), ["caughtUp"]);
  assertEquals(bench.does({ kind: "tick" }), []);
  assertEquals(kinds(bench.epoch(5, 14, true, "m1")), ["stopFollowing", "replay"]);
  assertEquals(kinds(bench.does(lacks)), ["copy"]);
  assertEquals(kinds(bench.does({ kind: "copied", step: 13, digest: digestOf(13) })), ["begin"]);

  const late = lacking(97);
  assertEquals(kinds(late.commits(4, 100)), ["caughtUp", "stopFollowing", "hello"]); // the last step
  assertEquals(kinds(late.epoch(4, 101, false)), ["copy"]);
});

Deno.test("a member that is ahead of its group waits for it", () => {
  const bench = new Bench(5);
  bench.does({ kind: "linked" });
  assertEquals(bench.epoch(2, 5, false), []);
  assertEquals(kinds(bench.commits(2, 5)), ["caughtUp"]);
});

Deno.test("a member with another state than the group's after the same step copies", () => {
  const bench = new Bench(5);
  bench.does({ kind: "linked" });
  const [one, three] = [MEMBERS[0], MEMBERS[2]];
  const message = { type: "epoch", epoch: 2, step: 6, digest: digestOf(5, 1), donor: "m1" } as const;
  assertEquals(kinds(bench.hears({ ...message, members: [one, three], spares: [], skip: false })), ["copy"]);
});

Deno.test("a member leaves at a step boundary with the coordinator's consent", () => {
  const bench = working();
  assertEquals(bench.does({ kind: "leave", finished: false }), []);
  bench.reduces(1, 1);
  assertEquals(kinds(bench.commits(1, 1)), ["apply", "leaving"]);
  const end = bench.hears({ type: "released" }).at(-1);
  assert(end?.kind === "end");
  assertEquals(end.refusal, null);
  assertEquals(bench.epoch(2, 2), []);

  const aborted = working();
  aborted.does({ kind: "leave", finished: true });
  assertEquals(kinds(aborted.hears({ type: "abort", epoch: 1, step: 1, reason: "lost" })), [
    "cancel",
    "leaving",
  ]);

  const stopped = working(); // a service that asks for no more sums
  stopped.does({ kind: "leave", finished: false });
  const failure = { kind: "failed", epoch: 1, step: 1, peer: null, reason: "It leaves" } as const;
  assertEquals(kinds(stopped.does(failure)), ["cancel", "leaving"]);

  const replaced = holding();
  replaced.does({ kind: "leave", finished: false });
  assertEquals(kinds(replaced.epoch(2, 1)), ["cancel", "leaving"]);

  const alone = new Bench();
  assertEquals(kinds(alone.does({ kind: "leave", finished: false })).at(-1), "end");
});

Deno.test("a member leaves when the run's last step is applied", () => {
  const active = new Bench(99);
  active.does({ kind: "linked" });
  assertEquals(kinds(active.epoch(1, 100)), ["begin"]);
  active.reduces(1, 100);
  const actions = active.commits(1, 100);
  assertEquals(kinds(actions), ["apply", "leaving"]);
  assertEquals(actions.at(-1), { kind: "send", message: { type: "leaving", finished: true } });

  const resumed = new Bench(100);
  resumed.does({ kind: "linked" });
  assertEquals(kinds(resumed.epoch(1, 101)).at(-1), "leaving");

  const follower = new Bench();
  follower.does({ kind: "linked" });
  assertEquals(kinds(follower.epoch(1, 101, false)), ["copy"]);
  const copied = follower.does({ kind: "copied", step: 100, digest: digestOf(100) });
  assertEquals(kinds(copied), ["stopFollowing", "leaving"]);
});

Deno.test("a silent coordinator is given up after three heartbeats", () => {
  const bench = holding();
  bench.hears({ type: "welcome", heartbeatMs: 100 });
  bench.now = 300;
  assertEquals(bench.does({ kind: "tick" }), []);
  bench.now = 301;
  assertEquals(kinds(bench.does({ kind: "tick" })), ["relink", "pause"]);
  assertEquals(bench.state.held?.step, 1);
});

Deno.test("a member holds what it has while a coordinator of another group answers", () => {
  const bench = holding();
  const refusal = { type: "refused", reason: 'It is of run "a"', retry: false, mismatch: true } as const;
  bench.does({ kind: "unlinked" });
  bench.does({ kind: "linked" });
  const actions = bench.hears(refusal);
  assertEquals(kinds(actions), ["log", "relink", "pause"]);
  assert(actions[0].kind === "log" && actions[0].level === "warn");
  assertEquals(actions[0].text, 'A coordinator of another group answers: It is of run "a"');
  bench.does({ kind: "unlinked" });
  const [hello] = bench.does({ kind: "linked" });
  assert(hello.kind === "send" && hello.message.type === "hello");
  assertEquals(hello.message.held?.step, 1);

  const newcomer = new Bench(); // has nothing to hold
  newcomer.does({ kind: "linked" });
  assertEquals(kinds(newcomer.hears(refusal)).at(-1), "end");
});

Deno.test("a member is told that nobody keeps the run, and who is to", () => {
  const bench = working();
  const reason = "Nobody keeps the run";
  assertEquals(bench.hears({ type: "warning", reason }), [{ kind: "log", level: "warn", text: reason }]);
  assertEquals(bench.state.heir, null);
  const epoch = { type: "epoch", step: 1, digest: digestOf(0), donor: null, skip: false } as const;
  bench.hears({ ...epoch, spares: [], epoch: 2, members: [...MEMBERS], heir: "m2" });
  assertEquals(bench.state.heir, "m2");
  bench.hears({ ...epoch, spares: [], epoch: 3, members: [...MEMBERS] });
  assertEquals(bench.state.heir, null);
});

Deno.test("a refusal ends a member and is told", () => {
  const bench = working();
  const end = bench.hears({ type: "refused", reason: "Wrong run", retry: false }).at(-1);
  assert(end?.kind === "end");
  assertMatch(end.refusal?.reason ?? "", /^Wrong run$/);
  assertEquals(bench.does({ kind: "linked" }), []);
});
