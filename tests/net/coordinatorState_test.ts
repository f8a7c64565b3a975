import { assert, assertEquals, assertMatch } from "@std/assert";
import { type CoordinatorAction, type SavedGroup, toSaved } from "../../src/net/coordinator/types.ts";
import { Bench, digestOf, hello, links, sent } from "./coordinatorBench.ts";

/** A group of m1 to m`count` in epoch 1 or later, at step 0. */
function group(count: number, settings: ConstructorParameters<typeof Bench>[0] = {}): Bench {
  const bench = new Bench({ minMembers: count, ...settings });
  for (let index = 1; index <= count; index++) bench.joins(index);
  assertEquals(bench.state.phase, "training");
  return bench;
}

function logged(actions: readonly CoordinatorAction[]): string[] {
  return actions.flatMap((action) => (action.kind === "log" ? [`${action.level}: ${action.text}`] : []));
}

Deno.test("a group begins once the minimum of members is here, with the epoch on disk first", () => {
  const bench = new Bench({ minMembers: 3 });
  assertMatch(sent(bench.joins(2), "hold")[0].message.reason, /1 of at least 3 are here/);
  bench.joins(1);
  assertEquals(bench.state.phase, "gathering");
  const actions = bench.joins(3);
  const persist = actions.findIndex(({ kind }) => kind === "persist");
  const first = actions.findIndex((action) => action.kind === "send" && action.message.type === "epoch");
  assert(persist >= 0 && persist < first);
  const [{ message }] = sent(actions, "epoch");
  assertEquals(message.members.map(({ id }) => id), ["m1", "m2", "m3"]);
  assertEquals([message.epoch, message.step, message.digest, message.donor], [1, 1, digestOf(0), null]);
  assertEquals(links(actions, "epoch"), [1, 2, 3]);
});

Deno.test("who comes is told why nothing goes on as it is with them, once", () => {
  const bench = new Bench({ minMembers: 3 });
  const told = (actions: readonly CoordinatorAction[]) =>
    sent(actions, "hold").map(({ link, message }) => `${link}: ${message.reason}`);
  bench.joins(1);
  const ofTwo = (link: number) => `${link}: Waits for members: 2 of at least 3 are here`;
  assertEquals(told(bench.joins(2)), [ofTwo(1), ofTwo(2)]);
  assertEquals(told(bench.does({ kind: "tick" })), []);
  assertEquals(told(bench.joins(3)), []);

  // Who comes back is not among those who are missing.
  const { state } = group(4);
  const next = new Bench({}, toSaved(state, state.identity!));
  assertMatch(told(next.joins(1)).join(), /^1: Waits up to 10 s for m2, m3, m4 to come back/);
  for (const line of told(next.joins(2))) assert(!/m2/.test(line), line);

  // The same reason, for one more.
  const stranger = new Bench({}, toSaved(state, state.identity!));
  stranger.joins(1);
  const [only, ...others] = told(stranger.joins(9));
  assertMatch(only, /^9: Waits up to 10 s for m2, m3, m4 to come back/);
  stranger.passes(10_500, [1, 9]);
  assertMatch(stranger.state.reason ?? "", /^Waits: m2, m3, m4 of /);
  assertEquals(others, []);
});

Deno.test("a step is committed once all are ready, and with it nothing else is sent", () => {
  const bench = group(3);
  assertEquals(links(bench.ready([1, 3]), "commit"), []);
  const actions = bench.ready([2]);
  assertEquals(links(actions, "commit"), [1, 2, 3]);
  assertEquals(sent(actions, "commit")[0].message, {
    type: "commit",
    epoch: 1,
    step: 1,
    digest: digestOf(1),
  });
  assertEquals(actions.length, 3);
  assertEquals(bench.ready([1, 2, 3]).length, 3);
  assertEquals(bench.state.step, 2);
});

Deno.test("whose answer takes long, as it reads its disk, is named while the others wait", () => {
  const bench = group(3);
  bench.does({ kind: "closed", link: 3 });
  bench.answers(1);
  bench.passes(3000, [1, 2]);
  assertEquals(bench.state.reason, null);
  bench.passes(500, [1, 2]);
  assertMatch(bench.state.reason ?? "", /^Waits for m2 to say what they have/);
  bench.answers(2);
  assertEquals([bench.state.phase, bench.state.reason], ["training", null]);
});

Deno.test("readiness for another step or epoch, or of who is not in the epoch, does not count", () => {
  const bench = group(2);
  bench.joins(3);
  bench.ready([3]);
  bench.ready([1, 2], { epoch: 7 });
  bench.ready([1, 2], { step: 2 });
  bench.ready([1]);
  bench.ready([1]);
  assertEquals(bench.state.step, 0);
  bench.ready([2]);
  assertEquals(bench.state.step, 1);
});

Deno.test("a member's end aborts the step; the others form the next epoch once all have answered", () => {
  const bench = group(3);
  bench.ready([1, 2, 3]);
  bench.ready([1, 2]);
  const actions = bench.does({ kind: "closed", link: 3 });
  assertEquals(links(actions, "abort"), [1, 2]);
  assertEquals(sent(actions, "abort")[0].message.step, 2);
  assertEquals(links(bench.ready([1, 2]), "commit"), []);
  assertEquals(links(bench.answers(1), "epoch"), []);
  const [{ message }] = sent(bench.answers(2), "epoch");
  assertEquals([message.epoch, message.step, message.members.map(({ id }) => id)], [2, 2, ["m1", "m2"]]);
  assertEquals(links(bench.ready([1, 2]), "commit"), [1, 2]);
});

Deno.test("a heartbeat is answered: where nothing is committed, a member hears nothing else", () => {
  const heartbeat = {
    type: "heartbeat",
    epoch: 1,
    step: 0,
    tokensPerSecond: 0,
    exposedShare: 0,
    computed: 0,
  } as const;
  assertEquals(group(2).says(1, heartbeat), [{ kind: "send", link: 1, message: { type: "heartbeat" } }]);
});

Deno.test("a member is lost after three silent heartbeats, unless the coordinator slept", () => {
  const bench = group(2);
  bench.passes(3000, [1]);
  assertEquals(bench.state.phase, "training");
  bench.passes(500, [1]);
  assertEquals([...bench.state.members.keys()], ["m1"]);
  assertEquals(bench.state.phase, "gathering");

  const sleeper = group(2);
  sleeper.passes(500);
  sleeper.now += 60_000;
  sleeper.does({ kind: "tick" });
  assertEquals(sleeper.state.members.size, 2);
});

Deno.test("a half goes on, a minority waits and says so, and goes on when enough come back", () => {
  const bench = group(4);
  bench.ready([1, 2, 3, 4]);
  bench.passes(3500, [1]);
  const actions = bench.answers(1);
  assertEquals(links(actions, "epoch"), []);
  assertMatch(sent(actions, "hold")[0].message.reason, /m2, m3, m4 .* may be training elsewhere.*--force/);
  bench.passes(60_000, [1]);
  assertEquals(bench.state.phase, "gathering");
  bench.joins(4, { appliedStep: 1, group: { epoch: 1, members: ["m1", "m2", "m3", "m4"] } });
  assertEquals(bench.state.phase, "training");

  const forced = group(4, { force: true });
  forced.passes(3500, [1]);
  forced.answers(1);
  assertEquals(forced.state.phase, "training");
});

Deno.test("an epoch in which nothing was committed yet does not shrink the group that half is needed of", () => {
  const bench = group(4);
  bench.ready([1, 2, 3, 4]);
  bench.passes(3500, [1, 2]);
  bench.answers(1, 2);
  assertEquals(bench.state.epochMembers, ["m1", "m2"]);
  const once = new Bench({}, savedBy(bench));
  bench.passes(3500, [1]);
  bench.answers(1);
  assertEquals(bench.state.phase, "gathering");
  once.joins(1, { appliedStep: 1, group: { epoch: 2, members: ["m1", "m2"] } });
  once.passes(9000, [1]);
  assertEquals(once.state.phase, "gathering");

  const committed = group(4);
  committed.passes(3500, [1, 2]);
  committed.answers(1, 2);
  committed.ready([1, 2]);
  committed.passes(3500, [1]);
  committed.answers(1);
  assertEquals(committed.state.epochMembers, ["m1"]);
});

Deno.test("the first commit of an epoch waits until enough of the last one's members know of it", () => {
  const bench = group(4);
  bench.ready([1, 2, 3, 4]);
  for (const link of [2, 3, 4]) bench.does({ kind: "closed", link });
  bench.joins(2, { group: null });
  bench.answers(1);
  assertEquals(bench.state.epochMembers, ["m1"]);
  assertEquals(links(bench.ready([1]), "commit"), []);
  assertEquals(bench.state.reason, "Waits for m2 of the last group to hear of epoch 2"); // not for who is away
  const heartbeat = { type: "heartbeat", step: 0, tokensPerSecond: 0, exposedShare: 0, computed: 0 } as const;
  assertEquals(links(bench.says(2, { ...heartbeat, epoch: 1 }), "commit"), []);
  assertEquals(links(bench.says(2, { ...heartbeat, epoch: 2 }), "commit"), [1, 2]);
  assertEquals(bench.state.reason, null);
});

Deno.test("members whose connections ended may be elsewhere: they, or others of their names, are waited for", () => {
  const bench = group(4);
  bench.ready([1, 2, 3, 4]);
  for (const link of [2, 3, 4]) bench.does({ kind: "closed", link });
  bench.answers(1);
  assertMatch(bench.state.reason ?? "", /m2, m3, m4 .* may be training elsewhere/);
  bench.joins(3);
  assertEquals([bench.state.phase, bench.state.epochMembers], ["training", ["m1"]]);

  const left = group(4);
  left.ready([1, 2, 3, 4]);
  for (const link of [2, 3, 4]) left.says(link, { type: "leaving", finished: false });
  left.answers(1);
  assertEquals(left.state.epochMembers, ["m1"]);
});

Deno.test("a spare that stands by counts from the next commit on, and one that is lost no longer", () => {
  const bench = new Bench();
  for (const index of [1, 2]) bench.joins(index, { virtualWorkers: 1 });
  bench.says(2, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  const actions = bench.ready([1]);
  const [{ message }] = sent(actions, "epoch");
  assertEquals([message.epoch, message.members.length, message.spares], [2, 1, ["m2"]]);
  const line =
    "info: Epoch 2 begins with step 2 and 1 node: m1; m2 stands by: 1 virtual worker is shared by 2 nodes";
  assertEquals(logged(actions), [line]);
  assertEquals(bench.state.electorates, [["m1"], ["m1", "m2"]]);
  bench.ready([1]);
  assertEquals(bench.state.electorates, [["m1", "m2"]]);
  bench.does({ kind: "closed", link: 2 });
  assertEquals(bench.state.phase, "training");
  bench.ready([1]);
  bench.ready([1]);
  assertEquals(bench.state.electorates, [["m1"]]);
});

Deno.test("more spares than members are waited for: alone, the members may not be the only group", () => {
  const bench = new Bench();
  for (const index of [1, 2, 3, 4]) bench.joins(index, { virtualWorkers: 1 });
  for (const index of [2, 3, 4]) {
    bench.says(index, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  }
  bench.ready([1]);
  assertEquals(links(bench.ready([1]), "commit"), []);
  assertEquals(bench.state.reason, "Waits for m2, m3, m4 of the last group to hear of epoch 2");
  const heartbeat = { type: "heartbeat", step: 1, tokensPerSecond: 0, exposedShare: 0, computed: 0 } as const;
  assertEquals(links(bench.says(3, { ...heartbeat, epoch: 2 }), "commit"), [1, 2, 3, 4]);
  for (const link of [2, 3, 4]) bench.does({ kind: "closed", link });
  assertEquals(links(bench.ready([1]), "commit"), []);
});

Deno.test("without the file, a process that was started anew does not count", () => {
  const members = ["m1", "m2", "m3"];
  const bench = new Bench({ waitMs: 1000 });
  bench.joins(1, { appliedStep: 7, group: { epoch: 9, members } });
  for (const index of [2, 3]) bench.joins(index);
  bench.passes(9000, [1, 2, 3]);
  assertMatch(
    bench.state.reason ?? "",
    /^Waits: m2, m3 .* expected more than half of them, as they were, here/,
  );
  bench.joins(2, { appliedStep: 7, group: { epoch: 9, members } });
  assertEquals(bench.state.phase, "training");
});

Deno.test("a newcomer is told a donor and enters with the step after it has caught up", () => {
  const bench = group(2);
  bench.ready([1, 2]);
  const [{ link, message }] = sent(bench.joins(3), "epoch");
  assertEquals([link, message.epoch, message.step, message.donor], [3, 1, 2, "m1"]);
  assertEquals(sent(bench.joins(4), "epoch")[0].message.donor, "m2");
  assertEquals(links(bench.ready([1, 2]), "epoch"), []);
  assertEquals(bench.says(3, { type: "caughtUp", step: 1, digest: digestOf(1), isProven: false }), []);
  const actions = bench.ready([1, 2]);
  assertEquals(links(actions, "commit"), [1, 2, 3, 4]);
  const epoch = sent(actions, "epoch")[0].message;
  assertEquals([epoch.epoch, epoch.step, epoch.members.map(({ id }) => id)], [2, 4, ["m1", "m2", "m3"]]);
  // Who lacks the last steps still is told who has them.
  assertEquals(sent(actions, "epoch").map(({ message }) => message.donor), [null, null, "m1", "m2"]);
});

Deno.test("who has no state forms no group and has no say in its state, but counts as here, and follows", () => {
  const bench = new Bench({ minMembers: 3, waitMs: 0 });
  const blank = { isBlank: true, digest: "0".repeat(8) };
  for (const index of [1, 2]) bench.joins(index, blank);
  const waits = sent(bench.joins(3, blank), "hold").map(({ message }) => message.reason);
  assertMatch(waits[0], /^Waits for a member that has a state of the run: m1, m2, m3 can only copy one$/);
  const epochs = sent(bench.joins(4), "epoch"); // one against three
  assertEquals(epochs.map(({ message }) => message.members.map(({ id }) => id)), Array(4).fill(["m4"]));
  assertEquals(epochs.map(({ message }) => message.donor), ["m4", "m4", "m4", null]);
  assertEquals(bench.state.digest, digestOf(0));

  // The only state is lost: nobody goes on with none.
  bench.ready([4]);
  bench.does({ kind: "closed", link: 4 });
  for (const index of [1, 2, 3]) bench.joins(index, blank);
  bench.passes(60_000, [1, 2, 3]);
  assertEquals([bench.state.phase, bench.state.step], ["gathering", 1]);
});

Deno.test("with more members than virtual workers the rest are spares, one of which steps in", () => {
  const bench = new Bench({ minMembers: 3 });
  for (const index of [1, 2, 3]) bench.joins(index, { virtualWorkers: 2 });
  assertEquals(bench.state.epochMembers, ["m1", "m2"]);
  assertEquals(sent(bench.actions, "epoch")[2].message.donor, "m1");
  bench.says(3, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  assertEquals(sent(bench.ready([1, 2]), "epoch")[0].message.spares, ["m3"]);
  bench.does({ kind: "closed", link: 1 });
  bench.joins(2, { virtualWorkers: 2, appliedStep: 1 });
  assertEquals(bench.state.epochMembers, ["m2", "m3"]);
});

Deno.test("a spare goes on where the only member of the epoch ended", () => {
  const bench = new Bench();
  bench.joins(1, { virtualWorkers: 1 });
  bench.joins(2, { virtualWorkers: 1 });
  bench.says(2, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  bench.ready([1]);
  bench.ready([1]);
  assertEquals(links(bench.does({ kind: "closed", link: 1 }), "abort"), [2]);
  bench.joins(2, { virtualWorkers: 1, appliedStep: 2, group: { epoch: 2, members: ["m1", "m2"] } });
  assertEquals([bench.state.phase, bench.state.epochMembers, bench.state.step], ["training", ["m2"], 2]);
});

Deno.test("the member whose digest differs from the majority's is named and removed, and the step done again", () => {
  const bench = group(3);
  bench.ready([1, 2]);
  const actions = bench.ready([3], { digest: digestOf(1, 1) });
  assertEquals(links(actions, "commit"), []);
  const [{ link, message }] = sent(actions, "refused");
  assertEquals([link, message.retry], [3, true]);
  assertMatch(message.reason, /^m3 has another digest after step 1 than the majority/);
  assertEquals(links(actions, "abort"), [1, 2]);
  bench.answers(1, 2);
  assertEquals([bench.state.epochMembers, bench.state.step], [["m1", "m2"], 0]);
});

Deno.test("without a majority of digests the group stops and says who is against whom", () => {
  const bench = group(2);
  bench.ready([1]);
  const actions = bench.ready([2], { digest: digestOf(1, 1) });
  assertEquals(links(actions, "refused"), [1, 2]);
  const stop = actions.find((action) => action.kind === "stop");
  assertMatch(stop?.reason ?? "", /disagree on step 1 .*m1 against m2/);
  assertMatch(sent(bench.joins(3), "refused")[0].message.reason, /^The group has stopped: .*disagree/);
});

Deno.test("a newcomer whose copy fails gets another donor, and the one it had where there is no other", () => {
  const donorsOf = (bench: Bench, times: number) =>
    Array.from({ length: times }, () => sent(bench.joins(5), "epoch")[0].message.donor);
  assertEquals(donorsOf(group(2), 4), ["m1", "m2", "m1", "m2"]);
  assertEquals(donorsOf(group(1), 2), ["m1", "m1"]);
});

const [GOOD, BAD] = ["600d0000", "bad00000"];

Deno.test("who has another state under the same digest is told so, and follows while the others do the step again", () => {
  const bench = group(3);
  bench.ready([1, 2], { stateHash: GOOD });
  const actions = bench.ready([3], { stateHash: BAD });
  assertEquals(links(actions, "commit"), []);
  const aborts = sent(actions, "abort");
  assertEquals(aborts.map(({ link, message }) => [link, message.isWrong]), [
    [1, undefined],
    [2, undefined],
    [3, true],
  ]);
  assertMatch(
    aborts[0].message.reason,
    /^m3 has other weights after step 0 than the majority, and will copy/,
  );
  bench.answers(1, 2); // the third one reads its disk
  assertEquals([bench.state.epochMembers, bench.state.members.get("m3")?.role], [["m1", "m2"], "following"]);
  bench.ready([1], { stateHash: GOOD });
  assertEquals(links(bench.ready([2], { stateHash: GOOD }), "commit"), [1, 2, 3]);
});

Deno.test("where all others are lost, who had a wrong state is waited for, and what it has kept before counts", () => {
  const bench = group(3);
  for (let step = 1; step <= 9; step++) bench.ready([1, 2, 3], { stateHash: GOOD });
  const heartbeat = { type: "heartbeat", tokensPerSecond: 0, exposedShare: 0, computed: 0 } as const;
  bench.says(3, { ...heartbeat, epoch: 1, step: 9, saved: 9 });
  bench.ready([1, 2], { stateHash: GOOD });
  bench.ready([3], { stateHash: BAD });
  for (const link of [1, 2]) bench.does({ kind: "closed", link });
  bench.joins(1, { group: null });
  bench.joins(2, { group: null });
  bench.passes(20_000, [1, 2, 3]);
  assertEquals(bench.state.phase, "gathering");
  bench.joins(3, { appliedStep: 6, digest: digestOf(6), saved: 6 });
  assertEquals([bench.state.phase, bench.state.step, bench.state.epochMembers], ["training", 6, ["m3"]]);
});

Deno.test("of two states under one digest neither is right, unless one is a newcomer's", () => {
  const bench = group(2);
  bench.ready([1], { stateHash: GOOD });
  const actions = bench.ready([2], { stateHash: BAD });
  assertEquals(links(actions, "refused"), [1, 2]);
  const stop = actions.find((action) => action.kind === "stop");
  assertMatch(stop?.reason ?? "", /^The weights of m1, m2 after step 0 differ, .*none has a majority/);

  const grown = group(1);
  grown.ready([1], { stateHash: GOOD });
  const at = { appliedStep: 1, digest: digestOf(1) };
  grown.joins(2, at);
  grown.says(2, { type: "caughtUp", step: 1, digest: digestOf(1), isProven: false });
  grown.ready([1], { stateHash: GOOD });
  assertEquals(grown.state.epochMembers, ["m1", "m2"]);
  grown.ready([1], { stateHash: GOOD });
  assertEquals(sent(grown.ready([2], { stateHash: BAD }), "abort").map(({ message }) => message.isWrong), [
    undefined,
    true,
  ]);
});

Deno.test("who has done steps and only lacked some since has a say against one other that has", () => {
  const bench = group(2);
  bench.ready([1, 2], { stateHash: GOOD });
  bench.does({ kind: "closed", link: 2 });
  bench.answers(1);
  bench.says(12, hello(2, { appliedStep: 1, isProven: true, group: { epoch: 1, members: ["m1", "m2"] } }));
  bench.says(12, { type: "caughtUp", step: 1, digest: digestOf(1), isProven: true });
  bench.ready([1], { stateHash: GOOD });
  assertEquals(bench.state.epochMembers, ["m1", "m2"]);
  bench.ready([1], { stateHash: BAD });
  assertEquals(links(bench.ready([12], { stateHash: GOOD }), "refused"), [1, 12]);
});

/**
 * Members find, one an epoch, that a pair of them has failed, until no pair of an epoch does.
 *
 * @param finds whether one finds a fault with the other
 * @returns the epochs that were lost, and what was said
 */
function quarrel(bench: Bench, finds: (by: number, of: number) => boolean): { lost: number; log: string[] } {
  const log: string[] = [];
  for (let lost = 0;; lost++) {
    assert(lost < 50, log.join("\n"));
    const members = bench.state.epochMembers.map((id) => Number(id.slice(1)));
    const [pair] = members.flatMap((by) => members.filter((of) => finds(by, of)).map((of) => [by, of]));
    if (pair === undefined) return { lost, log };
    const [by, of] = pair;
    const { epoch, step } = bench.state;
    const failed = { type: "failed", epoch, step: step + 1, peer: `m${of}`, reason: "no answer" } as const;
    const said = [...bench.says(by, failed), ...members.flatMap((index) => bench.answers(index))];
    log.push(...logged(said));
    assertEquals(links(said, "refused"), []);
    for (const { link, message } of sent(said, "epoch")) {
      if (message.members.some(({ id }) => id === `m${link}`) || message.donor === null) continue;
      bench.says(link, { type: "caughtUp", step, digest: digestOf(step), isProven: false });
    }
  }
}

Deno.test("one that can reach nobody, or whom nobody can, stands aside, whoever it is, and none of the others", () => {
  for (const bad of [1, 2, 3, 4]) {
    for (const finds of [(by: number) => by === bad, (_: number, of: number) => of === bad]) {
      const bench = group(4);
      const { lost, log } = quarrel(bench, (by, of) => by !== of && finds(by, of));
      const healthy = [1, 2, 3, 4].filter((index) => index !== bad);
      assertEquals(bench.state.epochMembers, healthy.map((index) => `m${index}`), log.join("\n"));
      assert(lost <= 4, `${lost} epochs`);
      bench.ready(healthy);
      bench.ready(healthy);
      assertEquals([bench.state.step, bench.state.epochMembers.length], [2, 3]);
    }
  }
});

Deno.test("who is in failed pairs with several others is told so, by their names; one of a pair that it failed is back", () => {
  const bench = group(3);
  const { log } = quarrel(bench, (by, of) => by === 1 && of !== 1);
  assertMatch(
    log.join("\n"),
    /m3 stands aside for 2 min: m3 and m1 failed|m2 stands aside for 2 min: m2 and m1 failed/,
  );
  assertMatch(
    log.join("\n"),
    /warn: m1 stands aside for 2 min: m1 and each of m2, m3 failed each other in step 1 \(m1 of m2: no answer; m1 of m3: no answer\)/,
  );
  assertEquals(bench.state.epochMembers, ["m2", "m3"]);
});

Deno.test("of two that can't reach each other one stands aside, for twice as long each time, and both are told", () => {
  const bench = group(3);
  const finds = (by: number, of: number) => by === 2 && of === 3;
  const told: CoordinatorAction[] = [];
  const does = bench.does.bind(bench);
  bench.does = (event) => {
    const actions = does(event);
    told.push(...actions);
    return actions;
  };
  for (const minutes of [2, 4, 8, 16, 32, 60, 60]) {
    told.length = 0;
    assertEquals(quarrel(bench, finds).lost, 3);
    assertEquals(bench.state.epochMembers, ["m1", "m2"]);
    const reasons = sent(told, "hold").filter(({ message }) => /stands aside/.test(message.reason));
    assertEquals(reasons.map(({ link }) => link), [3, 2]);
    assertMatch(
      reasons[0].message.reason,
      new RegExp(
        `^m3 stands aside for ${minutes} min: m3 and m2 .*\\(m2 of m3: no answer\\).* m3 at ws:.*, m2 at ws:`,
      ),
    );
    bench.ready([1, 2]);
    bench.now += 60_000 * minutes - 1;
    bench.ready([1, 2]);
    assertEquals(bench.state.epochMembers, ["m1", "m2"]);
    bench.now++;
    bench.ready([1, 2]);
    assertEquals(bench.state.epochMembers, ["m1", "m2", "m3"]);
  }
  // It got on for as long as it was aside the last time.
  bench.now += 3_600_000;
  bench.ready([1, 2, 3]);
  quarrel(bench, finds);
  assertMatch(told.map((action) => (action.kind === "log" ? action.text : "")).join("\n"), /aside for 2 min/);
});

Deno.test("halves that don't reach each other leave one half, which goes on; the last one goes on alone", () => {
  const halves = group(4);
  quarrel(halves, (by, of) => by % 2 !== of % 2);
  assertEquals(new Set(halves.state.epochMembers.map((id) => Number(id.slice(1)) % 2)).size, 1);
  const all = group(3);
  quarrel(all, (by, of) => by !== of);
  assertEquals(all.state.epochMembers.length, 1);
  const [left] = all.state.epochMembers.map((id) => Number(id.slice(1)));
  all.ready([left]);
  all.passes(500, [1, 2, 3]); // the others know that it trains
  assertEquals(all.state.step, 1);

  // Who stands aside goes on where nobody else is left.
  const pair = group(2);
  quarrel(pair, (by, of) => by !== of);
  assertEquals(pair.state.epochMembers, ["m1"]);
  for (let step = 1; step <= 2; step++) {
    pair.ready([1]);
    pair.passes(500, [1, 2]);
  }
  pair.does({ kind: "closed", link: 1 });
  pair.answers(2);
  assertEquals([pair.state.phase, pair.state.step, pair.state.epochMembers], ["training", 2, ["m2"]]);
});

Deno.test("failures before a commit, of who was lost, or an epoch ago blame nobody", () => {
  const bench = group(3);
  let rounds = 0;
  for (let round = 0; round < 5; round++) {
    quarrel(bench, (by, of) => by === 1 && of === 2 && rounds++ < 2);
    rounds = 0;
    bench.ready([1, 2, 3]);
  }
  assertEquals([bench.state.step, bench.state.epochMembers.length], [5, 3]);

  quarrel(bench, (by, of) => by === 1 && of === 3); // m3 stands aside
  bench.does({ kind: "closed", link: 3 });
  bench.joins(1, { appliedStep: 5, group: { epoch: bench.state.epoch, members: ["m1", "m2"] } }); // gives up
  bench.answers(2);
  assertEquals(bench.state.epochMembers, ["m1", "m2"]);
});

Deno.test("what was said of a process is not held against the next one of its name, though nobody saw the first one end", () => {
  const bench = group(3);
  for (let life = 1; life <= 4; life++) {
    const { epoch } = bench.state;
    bench.says(1, { type: "failed", epoch, step: 1, peer: "m3", reason: "no answer" });
    bench.answers(1, 2);
    bench.says(10 * life + 3, hello(3, { process: `${life}`.repeat(16) }));
  }
  assertEquals(bench.state.epochMembers, ["m1", "m2", "m3"]);
});

Deno.test("who fails three times through its own fault is removed", () => {
  const bench = group(2);
  for (let time = 1; time <= 3; time++) {
    const failed = {
      type: "failed",
      epoch: bench.state.epoch,
      step: 1,
      peer: null,
      reason: "no memory",
    } as const;
    const actions = bench.says(2, failed);
    assertEquals(links(actions, "refused"), time === 3 ? [2] : []);
    bench.answers(...(time === 3 ? [1] : [1, 2]));
  }
  assertEquals(bench.state.epochMembers, ["m1"]);
  const { epoch } = bench.state;
  bench.ready([1]);
  assertEquals(bench.says(1, { type: "failed", epoch, step: 1, peer: null, reason: "late" }), []);
});

const IDLE = { tokensPerSecond: 0, exposedShare: 0, computed: 0 } as const;

const NOT_FINITE = { type: "failed", peer: null, reason: "not finite", skip: true } as const;

/** A group of three in whose first step m1 finds that it is not finite, and that has begun it again. */
function doubting(): Bench {
  const bench = group(3);
  const { epoch } = bench.state;
  const failed = { ...NOT_FINITE, step: 1 };
  assertEquals(bench.says(1, { ...failed, epoch: epoch + 1 }), []);
  const actions = bench.says(1, { ...failed, epoch });
  assertEquals(links(actions, "abort"), [1, 2, 3]);
  const [line] = logged(actions);
  assertMatch(
    line,
    /m1 gives it up: not finite; step 1 is done by the others, to see whether they find the same/,
  );
  assertEquals(bench.says(2, { ...failed, epoch }), []);
  bench.answers(1, 2, 3);
  assertEquals(bench.state.epochMembers, ["m2", "m3"]);
  return bench;
}

function skips(actions: readonly CoordinatorAction[]): boolean[] {
  return sent(actions, "epoch").map(({ message }) => message.skip);
}

Deno.test("a step that two members find not finite is left out by the next epoch, and none after it", () => {
  const bench = doubting();
  bench.says(1, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  const { epoch } = bench.state;
  const [line] = logged(bench.says(3, { ...NOT_FINITE, step: 1, epoch }));
  assertMatch(line, /m3 gives it up: not finite; step 1 is left out/);
  bench.answers(2);
  assertEquals(skips(bench.answers(3)), [true, true, true]);
  assertEquals(bench.state.epochMembers, ["m1", "m2", "m3"]);
  assertEquals(links(bench.ready([1, 2, 3]), "commit"), [1, 2, 3]);
  bench.does({ kind: "closed", link: 2 });
  bench.answers(1);
  assertEquals(skips(bench.answers(3)), [false, false]);
});

Deno.test("a member that alone finds a step not finite is named and sent away, and the step is done", () => {
  const bench = doubting();
  const actions = bench.ready([2, 3]);
  const [{ link, message }] = sent(actions, "refused");
  assertEquals([link, message.retry], [1, true]);
  assertMatch(message.reason, /^m1 alone found step 1 not finite/);
  assertEquals([bench.state.step, bench.state.phase, links(actions, "abort")], [1, "training", []]);
  bench.ready([2, 3]);
  bench.joins(1); // a process started anew
  bench.says(1, { type: "caughtUp", step: 2, digest: digestOf(2), isProven: false });
  bench.ready([2, 3]);
  assertEquals(bench.state.epochMembers, ["m1", "m2", "m3"]);
});

Deno.test("who finds a step not finite and is left with spares asks them", () => {
  const bench = group(2);
  bench.joins(3);
  bench.says(3, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  bench.says(1, { ...NOT_FINITE, step: 1, epoch: bench.state.epoch });
  bench.does({ kind: "closed", link: 2 });
  assertEquals(links(bench.answers(1), "abort"), [3]);
  bench.answers(3);
  assertEquals(bench.state.epochMembers, ["m3"]);
  bench.says(1, { type: "heartbeat", epoch: bench.state.epoch, step: 0, ...IDLE });
  assertMatch(sent(bench.ready([3]), "refused")[0].message.reason, /^m1 alone found step 1 not finite/);
});

Deno.test("who finds a step not finite and is alone, or is left so, has nobody to ask", () => {
  const bench = group(1);
  bench.says(1, { ...NOT_FINITE, step: 1, epoch: bench.state.epoch });
  assertEquals(skips(bench.answers(1)), [true]);

  const leftAlone = () => {
    const bench = doubting();
    for (const link of [2, 3]) bench.says(link, { type: "leaving", finished: false });
    bench.joins(1, { group: { epoch: bench.state.epoch, members: ["m1"] } });
    return bench;
  };
  const left = leftAlone();
  assertEquals(left.state.epochMembers, ["m1"]);
  left.says(1, { ...NOT_FINITE, step: 1, epoch: left.state.epoch });
  assertEquals(skips(left.answers(1)), [true]);

  const passed = leftAlone(); // it finds it no more
  const actions = passed.ready([1]);
  assertEquals([links(actions, "commit"), links(actions, "refused")], [[1], []]);
  assertMatch(logged(actions).join(), /m1 alone found step 1 not finite/);
});

Deno.test("a hello of another run, version, config, tokenizer or adapter is refused with its reason", () => {
  const cases: [Parameters<typeof hello>[1], RegExp][] = [
    [{ run: "large" }, /of run "large", this group trains "small"/],
    [{ version: "0.2.0" }, /version 0\.2\.0, this group 0\.1\.0/],
    [{ virtualWorkers: 4 }, /4 virtual workers, this group 8/],
    [{ configDigest: "deadbeef" }, /config \(deadbeef\) is not this group's \(c0ffee00\)/],
    [{ tokenizerHash: "deadbeef" }, /tokenizer \(deadbeef\)/],
    [{ probe: "deadbeef" }, /adapter computes other bits/],
  ];
  for (const [changes, expected] of cases) {
    const bench = group(2);
    const actions = bench.joins(3, changes);
    const [{ link, message }] = sent(actions, "refused");
    assertEquals([link, message.retry], [3, false]);
    assertMatch(message.reason, expected);
    assert(actions.some((action) => action.kind === "close" && action.link === 3));
    assertEquals([bench.state.phase, bench.state.members.size], ["training", 2]);
  }
});

Deno.test("where configs differ the first settings that do are named with both values, cut, also after a restart", () => {
  const config: [string, string][] = [["seed", "7"], ["name", '"a"'], ["train.batchSize", "8"], ["x", "1"]];
  const refuses = (bench: Bench, theirs: [string, string][] | null) => {
    const actions = bench.joins(3, { configDigest: "deadbeef", config: theirs });
    return sent(actions, "refused")[0].message.reason;
  };
  const bench = new Bench();
  bench.joins(1, { config });
  const differing: [string, string][] = [["seed", "9".repeat(60)], ["name", '"b"'], [
    "train.batchSize",
    "16",
  ]];
  assertEquals(
    refuses(bench, differing),
    `Its config is another one: seed is ${
      "9".repeat(39)
    }…, the group's is 7; name is "b", the group's is "a"; ` +
      "train.batchSize is 16, the group's is 8; 1 more key differs; start it with the same config",
  );
  assertMatch(refuses(bench, config), /^Its config \(deadbeef\) is not/); // it doesn't say where
  assertMatch(refuses(bench, null), /^Its config \(deadbeef\) is not/);

  // Nothing of it is on disk: the next coordinator hears it from the first member that comes back.
  const saved = toSaved(bench.state, bench.state.identity!);
  assert(!JSON.stringify(saved).includes("batchSize"));
  const next = new Bench({}, saved);
  assertMatch(refuses(next, differing), /^Its config \(deadbeef\) is not/);
  next.joins(1, { config });
  assertMatch(refuses(next, differing), /train\.batchSize is 16/);
});

Deno.test("a group that never began takes the identity of who comes after all have gone", () => {
  const bench = new Bench({ minMembers: 2 });
  bench.joins(1, { run: "wrong" });
  bench.does({ kind: "closed", link: 1 });
  assertEquals(links(bench.joins(2), "welcome"), [2]);
});

Deno.test("a new coordinator waits for the last epoch and commits what all of them hold", () => {
  const before = group(2);
  before.ready([1, 2]);
  const saved = before.actions.length > 0 ? savedBy(before) : null;
  const held = { epoch: 1, step: 2, digest: digestOf(2) };
  const at = { appliedStep: 1, group: { epoch: 1, members: ["m1", "m2"] }, held };
  const bench = new Bench({}, saved);
  assertEquals(links(bench.joins(1, at), "epoch"), []);
  const actions = bench.joins(2, at);
  assertEquals(sent(actions, "commit")[0].message, { type: "commit", ...held });
  assertEquals(links(actions, "commit"), [1, 2]);
  assertEquals(sent(actions, "epoch")[0].message.step, 3);

  const other = new Bench({}, saved);
  other.joins(1, { ...at, held: { ...held, stateHash: GOOD } });
  const done = other.joins(2, { ...at, held: { ...held, stateHash: BAD } });
  assertEquals([links(done, "commit"), sent(done, "epoch")[0].message.step], [[], 2]); // their states differ
});

Deno.test("a new coordinator lets who holds a step apply it if another has, and does it again otherwise", () => {
  const saved = savedBy(group(3));
  const groupOf = { epoch: 1, members: ["m1", "m2", "m3"] };
  const held = { epoch: 1, step: 5, digest: digestOf(5) };
  const bench = new Bench({}, saved);
  bench.joins(1, { appliedStep: 5, group: groupOf });
  bench.joins(2, { appliedStep: 4, group: groupOf, held });
  const actions = bench.joins(3, {
    appliedStep: 4,
    group: groupOf,
    held: { ...held, digest: digestOf(5, 1) },
  });
  assertEquals(links(actions, "commit"), [2]);
  const epochs = sent(actions, "epoch").map(({ message }) => [message.epoch, message.step, message.donor]);
  assertEquals(epochs, [[2, 6, null], [2, 6, null], [2, 6, "m1"]]);

  const again = new Bench({}, saved);
  again.joins(1, { appliedStep: 4, group: groupOf, held });
  again.joins(2, { appliedStep: 4, group: groupOf, held });
  again.passes(3000, [1, 2]);
  assertEquals(again.state.phase, "training");
  assertEquals([again.state.step, again.state.epochMembers], [4, ["m1", "m2"]]);
});

/** A group of m1 to m3 after 5000 steps, in which m1 keeps the run, has saved step 4990, and all are lost. */
function lostGroup(settings: ConstructorParameters<typeof Bench>[0] = {}): Bench {
  const bench = new Bench({ minMembers: 3, ...settings });
  const at = { appliedStep: 4999 };
  bench.joins(1, { ...at, keeps: "here", saved: 4990 });
  for (const index of [2, 3]) bench.joins(index, at);
  bench.ready([1, 2, 3]);
  assertEquals(bench.state.step, 5000);
  return loseAll(bench);
}

/** All are lost; the first that comes back may begin. */
function loseAll(bench: Bench): Bench {
  for (const { link } of bench.state.members.values()) bench.does({ kind: "closed", link });
  bench.state = { ...bench.state, settings: { ...bench.state.settings, minMembers: 1 } };
  return bench;
}

const WAITS_FOR_KEEPER =
  "Waits for m1, which keeps the state after step 4990: the newest here is that after step 0; " +
  "start m1, or the coordinator with --force to go on from step 0";

Deno.test("a group of which a newer state is on the disk of somebody who is away waits for that without limit", () => {
  const before = lostGroup();
  const benches = [before, new Bench({ minMembers: 2 }, savedBy(before))];
  // of an older version's file: it doesn't say who keeps what
  const { keepers: _, ...older } = savedBy(before);
  benches.push(new Bench({ minMembers: 2 }, { ...older, step: 4990 }));
  for (const bench of benches) {
    bench.says(12, hello(2));
    bench.says(13, hello(3));
    bench.passes(100_000, [12, 13]);
    assertEquals([bench.state.phase, bench.state.reason], ["gathering", WAITS_FOR_KEEPER]);
    const actions = bench.says(11, hello(1, { appliedStep: 4990, keeps: "here", saved: 4990 }));
    const [{ message }] = sent(actions, "epoch");
    assertEquals([message.step, message.members.map(({ id }) => id)], [4991, ["m1"]]);
    assertEquals(links(actions, "epoch").sort(), [11, 12, 13]);
  }
});

Deno.test("a group waits no longer than for others for whom has no newer state on its disk, or where it is forced to", () => {
  const begins = (bench: Bench, ...hellos: readonly Parameters<typeof hello>[]) => {
    for (const [index, changes] of hellos) bench.says(10 + index, hello(index, changes));
    bench.passes(9500, hellos.map(([index]) => 10 + index));
    assertEquals(bench.state.phase, "gathering");
    bench.passes(1000, hellos.map(([index]) => 10 + index));
    assertEquals(bench.state.phase, "training", bench.state.reason ?? "");
    return bench.state.step;
  };
  assertEquals(begins(lostGroup(), [2], [3, { appliedStep: 4990, keeps: "here", saved: 4990 }]), 4990);
  assertEquals(begins(lostGroup({ force: true }), [2]), 0);

  // nobody keeps anything
  const unkept = group(3);
  unkept.ready([1, 2, 3]);
  assertEquals(begins(loseAll(unkept), [2], [3]), 0);

  // a spare of the last epoch that is a few steps behind; one that could not follow may lack days
  for (const [appliedStep, phase] of [[4987, "training"], [4986, "gathering"]] as const) {
    const spare = lostGroup();
    const { epoch } = spare.state;
    spare.says(12, hello(2, { appliedStep, group: { epoch, members: ["m1", "m2", "m3"] } }));
    spare.says(13, hello(3));
    spare.passes(phase === "training" ? 3500 : 100_000, [12, 13]);
    assertEquals(spare.state.phase, phase);
  }
});

Deno.test("a group that does again what was lost goes on from the newest state as soon as that is back", () => {
  const bench = lostGroup({ force: true });
  bench.says(12, hello(2));
  bench.says(13, hello(3));
  bench.passes(10_500, [12, 13]);
  bench.ready([12, 13].map((link) => link));
  assertEquals([bench.state.phase, bench.state.step], ["training", 1]);
  bench.says(14, hello(4)); // copies meanwhile
  const actions = bench.says(11, hello(1, { appliedStep: 4990, keeps: "here", saved: 4990 }));
  assertEquals(links(actions, "abort").sort(), [12, 13, 14]);
  assertMatch(
    logged(actions).join(),
    /m1 has the state after step 4990, the group's is older; step 2 is given up for/,
  );
  const group_ = { epoch: bench.state.epoch, members: ["m2", "m3"] };
  bench.says(12, hello(2, { appliedStep: 1, group: group_ }));
  bench.says(13, hello(3, { appliedStep: 1, group: group_ }));
  const [first, ...others] = sent(bench.says(14, hello(4, { group: group_ })), "epoch");
  assertEquals([first.link, first.message.step, first.message.donor], [11, 4991, null]);
  assertEquals(others.map(({ link, message }) => [link, message.donor]), [[12, "m1"], [13, "m1"], [
    14,
    "m1",
  ]]);

  // who has done nothing more, or has no state, disturbs nobody
  for (const changes of [{ appliedStep: 4990 }, { appliedStep: 9000, isBlank: true }]) {
    assertEquals(links(bench.says(15, hello(5, changes)), "abort"), []);
    bench.does({ kind: "closed", link: 15 });
  }
});

Deno.test("where nobody keeps the run who should one member is its heir, and after the wait all are told, once", () => {
  const bench = new Bench({ minMembers: 3, waitMs: 5000 });
  const elsewhere = { keeps: "elsewhere" } as const;
  bench.joins(1, { keeps: "here" });
  bench.joins(4, elsewhere);
  const heirs = (actions: readonly CoordinatorAction[]) =>
    sent(actions, "epoch").map(({ message }) => message.heir);
  assertEquals(heirs(bench.joins(2)), [undefined, undefined, undefined]);
  bench.does({ kind: "closed", link: 1 });
  bench.answers(2);
  const { epoch, epochMembers } = bench.state;
  const known = { epoch, members: [...epochMembers] };
  assertEquals(heirs(bench.joins(4, { ...elsewhere, group: known })), ["m4", "m4"]); // m2 relies on nobody
  const warned: [number, string][] = [];
  for (const end = bench.now + 12_000; bench.now < end;) {
    bench.passes(500, [2, 4]);
    for (const { link, message } of sent(bench.actions, "warning")) warned.push([link, message.reason]);
  }
  assertEquals(warned.map(([link]) => link), [4, 2]);
  assertMatch(
    warned[0][1],
    /^No node of this group keeps the run: .* otherwise m4 saves the model at the run's end/,
  );

  bench.joins(1, { keeps: "here" }); // copies, and enters
  bench.says(1, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  assertEquals(heirs(bench.ready([2, 4])), [undefined, undefined, undefined]);
  bench.passes(500, [1, 2, 4]);
  assertEquals(bench.state.unkept, null);

  const service = group(2); // keeps nothing on purpose
  service.passes(20_000, [1, 2]);
  assertEquals(service.state.unkept, null);
});

Deno.test("what is on the members' disks is written down, once", () => {
  const bench = group(2);
  const persisted = (saved: number) => {
    const { epoch } = bench.state;
    const beat = {
      type: "heartbeat",
      epoch,
      step: 0,
      saved,
      tokensPerSecond: 1,
      exposedShare: 0,
      computed: 0,
    } as const;
    bench.says(1, beat);
    bench.says(2, { ...beat, saved: 0 });
    return bench.does({ kind: "tick" }).flatMap((action) =>
      action.kind === "persist" ? [action.group.keepers] : []
    );
  };
  const counts: unknown[] = [];
  for (; bench.now < 30_000; bench.now += 500) counts.push(...persisted(bench.now < 15_000 ? 10 : 20));
  assertEquals(counts, [{ m1: 10 }, { m1: 20 }]);
});

Deno.test("a total loss waits for the members of the last epoch, then begins with the newest state", () => {
  const bench = group(2, { waitMs: 5000 });
  bench.ready([1, 2]);
  for (const link of [1, 2]) bench.does({ kind: "closed", link });
  bench.now += 100_000;
  bench.joins(2);
  bench.passes(4500, [2]);
  assertEquals(bench.state.phase, "gathering");
  bench.joins(3, { appliedStep: 1 });
  bench.passes(500, [2, 3]);
  assertEquals([bench.state.phase, bench.state.epochMembers, bench.state.step], ["training", ["m3"], 1]);
});

Deno.test("a coordinator without its file needs more than half of the newest epoch that members know", () => {
  const members = ["m1", "m2", "m3", "m4"];
  const bench = new Bench({ waitMs: 1000 });
  const known = { appliedStep: 7, group: { epoch: 9, members } };
  const persisted = bench.joins(1, known).flatMap((
    action,
  ) => (action.kind === "persist" ? [action.group] : []));
  // It is as wary when it is started again, and who told is gone.
  assertEquals(persisted.map(({ epoch, needsMajority }) => [epoch, needsMajority]), [[9, true]]);
  const again = new Bench({ waitMs: 1000 }, persisted[0]);
  for (const index of [1, 2, 3]) again.joins(index);
  again.passes(9000, [1, 2, 3]);
  assertEquals(again.state.phase, "gathering");
  bench.joins(2, known);
  bench.passes(9000, [1, 2]);
  assertMatch(bench.state.reason ?? "", /expected more than half of them, as they were, here/);
  bench.joins(5, { group: { epoch: 3, members: ["m5"] } });
  assertEquals(bench.state.phase, "gathering");
  bench.joins(3, { ...known, group: { epoch: 8, members: ["m1", "m3"] } });
  assertEquals(bench.state.phase, "training");
  assert(bench.state.epoch > 1000, `epoch ${bench.state.epoch}`);
  // With the first commit it is the coordinator again: half is enough.
  assertEquals([bench.state.needsMajority, savedBy(bench).needsMajority], [true, true]);
  bench.ready([1, 2, 3]);
  assertEquals(bench.state.needsMajority, false);

  const forced = new Bench({ force: true });
  forced.joins(1, known);
  forced.passes(9000, [1]);
  assertEquals(forced.state.epochMembers, ["m1"]);
});

Deno.test("a coordinator that has formed a group and hears of a newer one stops", () => {
  const bench = group(2);
  const actions = bench.joins(3, { group: { epoch: 5, members: ["m3"] } });
  assert(actions.some((action) => action.kind === "stop" && /another one coordinates/.test(action.reason)));
  assertEquals(actions.filter(({ kind }) => kind === "close").length, 2);
  assertEquals(links(bench.ready([1, 2]), "commit"), []);
});

Deno.test("a coordinator that was fenced off closes all and says nothing more", () => {
  const bench = group(2);
  bench.ready([1]);
  const actions = bench.does({ kind: "fenced", reason: "the lock is lost" });
  assertEquals(actions.map(({ kind }) => kind), ["close", "close", "stop"]);
  assertEquals(bench.ready([2]), []);
});

Deno.test("who leaves is released at once, and the rest go on without being asked for it again", () => {
  const bench = group(3);
  bench.ready([1, 2, 3]);
  const actions = bench.says(2, { type: "leaving", finished: false });
  assertEquals([links(actions, "released"), links(actions, "abort")], [[2], [1, 3]]);
  assertEquals(actions[0].kind, "persist");
  bench.answers(1, 3);
  assertEquals(bench.state.epochMembers, ["m1", "m3"]);
});

Deno.test("the run finishes when its members say so and have left", () => {
  const bench = group(2);
  bench.ready([1, 2]);
  const leaves = bench.says(1, { type: "leaving", finished: true });
  const end = bench.says(2, { type: "leaving", finished: true });
  assert(end.some(({ kind }) => kind === "finished"));
  // as it should be: nothing to warn of
  assertEquals(logged([...leaves, ...end]), ["info: m1 leaves after step 1", "info: m2 leaves after step 1"]);

  const early = group(2);
  early.ready([1, 2]);
  const leaving = early.says(1, { type: "leaving", finished: false });
  assertEquals(logged(leaving), [
    "info: m1 leaves after step 1",
    "info: Step 2 is begun again without m1",
  ]);
});

/** Two members that have the run's last state, and one that still copies it. */
function finishing() {
  const bench = group(2);
  bench.joins(3);
  bench.ready([1, 2]);
  const actions = [1, 2].flatMap((index) => bench.says(index, { type: "leaving", finished: true }));
  assertEquals(links(actions, "released"), []);
  const beat = (step: number) =>
    bench.says(3, {
      type: "heartbeat",
      epoch: bench.state.epoch,
      step,
      tokensPerSecond: 0,
      exposedShare: 0,
      computed: 0,
    });
  return { bench, beat };
}

Deno.test("who has the run's last state stays until those who follow have got it", () => {
  const { bench, beat } = finishing();
  assertEquals(links(beat(0), "released"), []);
  assertEquals(links(beat(1), "released"), [1, 2]);
  const end = bench.says(3, { type: "leaving", finished: true });
  assertEquals(links(end, "released"), [3]);
  assert(end.some(({ kind }) => kind === "finished"));

  const other = finishing(); // what it says may overtake its beat
  const last = other.bench.says(3, { type: "leaving", finished: true });
  assertEquals(links(last, "released"), [3, 1, 2]);
  assert(last.some(({ kind }) => kind === "finished"));
});

Deno.test("who comes when the run has finished gets its last state while somebody has it, or is done", () => {
  const bench = group(2);
  bench.ready([1, 2]);
  assertEquals(links(bench.says(1, { type: "leaving", finished: true }), "released"), [1]);
  // m2 has not said yet that it leaves
  const [{ link, message }] = sent(bench.joins(3), "epoch");
  assertEquals([link, message.step, message.digest, message.donor], [3, 2, digestOf(1), "m2"]);
  assertEquals(message.members.map(({ id }) => id), ["m2"]);
  const other = sent(bench.joins(4, { appliedStep: 1, digest: digestOf(1, 1) }), "epoch")[0].message;
  assertEquals([other.donor, other.digest], ["m2", digestOf(1)]); // its state is not the group's
  assertEquals(links(bench.says(2, { type: "leaving", finished: true }), "released"), []);
  assertEquals(links(bench.joins(5, { appliedStep: 1 }), "released"), []); // it may be copied from
  bench.joins(3); // its link was lost on the way
  assertEquals(links(bench.says(3, { type: "leaving", finished: true }), "released"), [3]);
  const end = bench.says(4, { type: "leaving", finished: true });
  assertEquals(links(end, "released"), [4, 2, 5]);
  assert(end.some(({ kind }) => kind === "finished"));

  const late = group(2);
  late.ready([1, 2]);
  late.says(1, { type: "leaving", finished: true });
  assertEquals(links(late.joins(3, { appliedStep: 1 }), "released"), [3]); // nobody lacks it
});

Deno.test("nobody waits at the run's end for a follower that is lost, that takes ten minutes, or has nobody left", () => {
  const lost = finishing().bench.does({ kind: "closed", link: 3 });
  assertEquals(links(lost, "released"), [1, 2]);
  assert(lost.some(({ kind }) => kind === "finished"));

  const slow = finishing();
  for (let minute = 0; minute < 9; minute++) slow.bench.now += 60_000;
  assertEquals(links(slow.beat(0), "released"), []);
  slow.bench.now += 60_001;
  assertEquals(links(slow.beat(0), "released"), [1, 2, 3]);

  const { bench } = finishing();
  bench.does({ kind: "closed", link: 1 });
  assertEquals(links(bench.does({ kind: "closed", link: 2 }), "released"), [3]);
});

Deno.test("who still follows when the run finishes counts no longer once it is released", () => {
  const bench = new Bench();
  for (const index of [1, 2, 3]) bench.joins(index, { virtualWorkers: 1 });
  bench.says(2, { type: "caughtUp", step: 0, digest: digestOf(0), isProven: false });
  bench.ready([1]); // with m2 as a spare from now on
  const beats = () =>
    bench.says(2, {
      type: "heartbeat",
      epoch: bench.state.epoch,
      step: 0,
      tokensPerSecond: 1,
      exposedShare: 0,
      computed: 0,
    });
  beats();
  bench.ready([1]);
  assertEquals([bench.state.step, bench.state.electorates], [2, [["m1", "m2"]]]);
  assertEquals(links(bench.says(1, { type: "leaving", finished: true }), "released"), []);
  bench.now += 600_001;
  const end = beats();
  assertEquals(links(end, "released"), [1, 2, 3]);
  assert(end.some(({ kind }) => kind === "finished"));
  // the folder may serve another run
  const saved = end.flatMap((action) => (action.kind === "persist" ? [action.group] : [])).at(-1)!;
  assertEquals([saved.members, saved.electorates], [[], []]);
});

Deno.test("of two processes with one name the later one stays, and the other one doesn't come back", () => {
  const bench = group(2);
  const first = hello(2);
  const second = hello(2, { process: "2222222222222222" });
  const actions = bench.says(9, second);
  const [{ link, message }] = sent(actions, "refused");
  assertEquals([link, message.retry], [2, false]);
  assertMatch(
    message.reason,
    /later process has joined as m2.*don't start this one again.*delete the file "member"/,
  );
  assertEquals(links(actions, "welcome"), [9]);
  assertEquals(links(actions, "abort"), [1]);
  // What an older connection still delivers is of a process that has ended.
  const third = hello(2, { process: "3333333333333333" });
  assertEquals(bench.says(8, third).map(({ kind }) => kind), ["close"]);
  assertEquals(bench.state.members.get("m2")?.link, 9);

  // The one that was replaced comes back, with what it knows of the group: also when nobody of its name is there.
  const comesBack = (link: number) => {
    const group = { epoch: 1, members: ["m1", "m2"] };
    const said = bench.says(link, { ...first, group, survives: true });
    assertEquals([links(said, "refused"), links(said, "welcome")], [[link], []]);
  };
  comesBack(10);
  assertEquals(bench.state.members.get("m2")?.link, 9);
  bench.does({ kind: "closed", link: 9 });
  comesBack(11);

  // The same process over another link is no other one.
  const again = bench.says(12, second);
  assertEquals([links(again, "refused"), links(again, "welcome")], [[], [12]]);
  const anew = bench.says(13, second);
  assertEquals([links(anew, "refused"), links(anew, "welcome")], [[], [13]]);
  assert(anew.some((action) => action.kind === "close" && action.link === 12));
});

Deno.test("a process that is started anew takes the name of the one before it, whose link may not have ended", () => {
  const bench = group(1);
  const processes = ["a", "b", "c"].map((digit) => digit.repeat(16));
  for (const [i, process] of processes.entries()) {
    const actions = bench.says(20 + i, hello(1, { process }));
    assertEquals(links(actions, "welcome"), [20 + i]);
  }
  assertEquals(links(bench.says(30, hello(1, { process: processes[0] })), "refused"), [30]);
  assertEquals(links(bench.says(31, hello(1, { process: processes[1] })), "refused"), [31]);
  assertEquals(bench.state.members.get("m1")?.link, 22);
});

Deno.test("status names who was last and how long the others waited", () => {
  const bench = group(3);
  bench.ready([1, 2], { workMs: 100 });
  bench.ready([3], { workMs: 350 });
  bench.ready([1, 2], { workMs: 100 });
  bench.ready([3], { workMs: 140 });
  bench.joins(4);
  bench.now += 20;
  const [{ link, message }] = sent(bench.says(77, { type: "status" }), "status");
  assertEquals([link, message.run, message.phase, message.epoch, message.step], [
    77,
    "small",
    "training",
    1,
    2,
  ]);
  assertEquals(message.members.map(({ role }) => role), ["active", "active", "active", "following"]);
  assertEquals(message.members.map(({ lastSteps, waitMs }) => [lastSteps, waitMs]), [
    [0, 0],
    [0, 0],
    [2, 290],
    [0, 0],
  ]);
  assertEquals(message.members.map(({ share }) => share), [
    { from: 0, to: 2 },
    { from: 2, to: 5 },
    { from: 5, to: 8 },
    null,
  ]);
  assertEquals(message.members[0].silentMs, 20);
});

/** Lets time pass while members beat, and say whether they have computed their part of the step under way. */
function beats(bench: Bench, ms: number, computed: Readonly<Record<number, boolean>>): CoordinatorAction[] {
  const actions: CoordinatorAction[] = [];
  for (const end = bench.now + ms; bench.now < end;) {
    bench.now += 500;
    for (const [link, isComputed] of Object.entries(computed)) {
      if (!bench.state.members.has(`m${link}`)) continue;
      const { epoch, step } = bench.state;
      const heartbeat = { type: "heartbeat", epoch, step, tokensPerSecond: 1, exposedShare: 0 } as const;
      actions.push(...bench.says(Number(link), { ...heartbeat, computed: isComputed ? step + 1 : 0 }));
    }
    actions.push(...bench.does({ kind: "tick" }));
  }
  return actions;
}

Deno.test("status shows who is at work on the step under way, and who hangs is named once a step", () => {
  const bench = group(3);
  const atWork = () => {
    const [{ message }] = sent(bench.says(77, { type: "status" }), "status");
    return message.members.map(({ atWorkMs }) => atWorkMs);
  };
  for (let step = 1; step <= 5; step++) {
    bench.now += 1000;
    bench.ready([1, 2, 3]);
  }
  assertEquals(atWork(), [0, 0, 0]);
  assertEquals(logged(beats(bench, 10_000, { 1: true, 2: false, 3: true })), []);
  assertEquals(atWork(), [null, 10_000, null]);
  const line = "warn: Step 6 has taken 11 s so far, usually 1.0 s: m2 is still at work, and the others wait";
  assertEquals(logged(beats(bench, 60_000, { 1: true, 2: false, 3: true })), [line]);
  assertEquals(bench.state.members.size, 3);

  bench.ready([1, 2, 3]);
  bench.ready([1]);
  assertEquals(atWork(), [null, 0, 0]);
  assertEquals(
    logged(beats(bench, 20_000, { 1: true, 2: true, 3: true })),
    ["warn: Step 7 has taken 11 s so far, usually 1.0 s: all have computed; m2, m3 lack parts of the sum"],
  );
  bench.ready([1, 2, 3]);
  assertEquals(
    logged(beats(bench, 20_000, { 1: false, 2: false, 3: false })),
    ["warn: Step 8 has taken 11 s so far, usually 1.0 s: all nodes are still at work"],
  );
  assertEquals(
    sent(bench.says(77, { type: "status" }), "status")[0].message.members.map(({ asideMs }) => asideMs),
    [
      null,
      null,
      null,
    ],
  );

  // Steps that are fast don't make seconds a long time, and the first ones have no usual time.
  const fast = group(1);
  for (let step = 1; step <= 5; step++) fast.ready([1]);
  assertEquals(logged(beats(fast, 5000, { 1: false })), []);
  assertEquals(logged(beats(fast, 1000, { 1: false })).length, 1);
  const first = group(1);
  assertEquals(logged(beats(first, 600_000, { 1: false })), []);
  assertEquals(logged(beats(first, 1000, { 1: false })), [
    "warn: Step 1 has taken 601 s so far: all nodes are still at work",
  ]);
});

Deno.test("who is at work for longer than it may is sent away if others wait for it, and where nobody says so, not", () => {
  const bench = group(3, { stepTimeoutMs: 60_000 });
  assertEquals(links(beats(bench, 60_000, { 1: true, 2: false, 3: true }), "refused"), []);
  const actions = beats(bench, 500, { 1: true, 2: false, 3: true });
  const [{ link, message }] = sent(actions, "refused");
  assertEquals([link, message.retry], [2, true]);
  assertMatch(message.reason, /^m2 is still at work on step 1 after 61 s, longer than --step-timeout allows/);
  assertEquals(links(actions, "abort"), [1, 3]);
  bench.answers(1, 3);
  assertEquals(bench.state.epochMembers, ["m1", "m3"]);
  // All are slow: the step is a long one.
  assertEquals(links(beats(bench, 300_000, { 1: false, 3: false }), "refused"), []);
});

Deno.test("a step's wait is charged to whose frames came last, but for what others computed longer", () => {
  const accounts = (bench: Bench) =>
    [...bench.state.members.values()].map(({ lastSteps, waitMs, linkMs }) => [lastSteps, waitMs, linkMs]);
  const slowest = (peer: string, afterMs: number, beyondMs: number) => ({ peer, afterMs, beyondMs });
  // m3 computes 5 ms longer than m1; what m2 sends or gets takes 60 ms, and so all seems late to it
  const bench = group(3);
  bench.ready([1], { workMs: 1, slowest: slowest("m2", 66, 60) });
  bench.ready([2], { workMs: 1, slowest: slowest("m3", 125, 4) });
  bench.ready([3], { workMs: 6, slowest: slowest("m2", 61, 60) });
  assertEquals(accounts(bench), [[0, 0, 0], [1, 60, 60], [0, 5, 0]]);

  // of two, that one computes longer explains when its frames come
  const pair = group(2);
  pair.ready([1], { workMs: 10, slowest: slowest("m2", 90, 90) });
  pair.ready([2], { workMs: 100 });
  assertEquals(accounts(pair), [[0, 0, 0], [1, 90, 0]]);
  // both at once
  pair.ready([1], { workMs: 10, slowest: slowest("m2", 110, 110) });
  pair.ready([2], { workMs: 100 });
  assertEquals(accounts(pair), [[0, 0, 0], [2, 200, 20]]);
  // nobody that is here
  pair.ready([1], { slowest: slowest("m9", 50, 50) });
  pair.ready([2]);
  assertEquals(accounts(pair), [[1, 0, 0], [2, 200, 20]]);
});

/** What a bench's coordinator has on disk. */
function savedBy({ state }: Bench): SavedGroup {
  assert(state.identity !== null);
  return toSaved(state, state.identity);
}
