import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { UserError } from "../../src/errors.ts";
import type { Identity } from "../../src/net/control/messages.ts";
import { importToken } from "../../src/net/link/auth.ts";
import { openWithCa } from "../../src/net/link/caFile.ts";
import { joinGroup, type Node } from "../../src/net/node.ts";
import { NotFiniteError } from "../../src/net/replica.ts";
import { ExchangeError } from "../../src/net/sum/allreduce.ts";
import { FakeReplica, trainAlone } from "./fakeReplica.ts";
import { assertTrained, BUCKET_ELEMENTS, finish, Group } from "./group.ts";
import { groupIdentity } from "./groupIdentity.ts";
import { token } from "./sockets.ts";
import { sameBits } from "./support.ts";
import type { Order } from "./victim.ts";

const { virtualWorkers } = groupIdentity;

interface Team {
  readonly replicas: readonly FakeReplica[];
  readonly nodes: readonly Node[];
}

/** Lets members join as m0, m1, ... */
function joinAll(group: Group, replicas: readonly FakeReplica[], bucketElements = BUCKET_ELEMENTS): Team {
  const nodes = replicas.map((replica, i) => group.join(`m${i}`, { replica, bucketElements }));
  return { replicas, nodes };
}

function newReplicas(
  count: number,
  options: ConstructorParameters<typeof FakeReplica>[0] = {},
): FakeReplica[] {
  return Array.from({ length: count }, () => new FakeReplica(options));
}

/** What is done as soon as the sums of a step are to be made. */
function atStep(replica: FakeReplica, step: number, action: () => void | Promise<void>): void {
  let isDone = false;
  replica.beforeSums = async (current) => {
    if (current !== step || isDone) return;
    isDone = true;
    await action();
  };
}

for (const [sumLength, bucketElements] of [[5003, 5003], [5003, 1024], [65, 65]]) {
  const what = `${sumLength} values in buckets of ${bucketElements}`;
  Deno.test(`joinGroup() gives any number of members the state of one: ${what}`, async () => {
    const expected = await trainAlone(6, virtualWorkers, { sumLength });
    const digests = new Set<string>();
    for (const members of [1, 2, 3, 5]) {
      await using group = await Group.start(members);
      const { replicas, nodes } = joinAll(group, newReplicas(members, { sumLength }), bucketElements);
      await finish(...nodes);
      await group.coordinator.ended;
      assertTrained(expected, ...replicas);
      digests.add(replicas[0].applied.digest);
      const steps = replicas.map(({ calls }) => calls.join());
      assertEquals(steps, Array(members).fill(steps[0]), "a step was done twice");
    }
    assertEquals(digests.size, 1);
  });
}

Deno.test("joinGroup() rounds sums to bfloat16 alike for any number of members, but for the exact values", async () => {
  const exactValues = 3;
  const sumLength = 5008 + exactValues;
  const states: Float32Array[] = [];
  for (const members of [1, 2, 3]) {
    await using group = await Group.start(members);
    const replicas = newReplicas(members, { sumLength, totalSteps: 2 });
    const nodes = replicas.map((replica, i) =>
      group.join(`m${i}`, { replica, wire: { sumType: "bf16" }, exactValues })
    );
    await finish(...nodes);
    states.push(...replicas.map(({ state }) => state));
    assertEquals(new Set(replicas.map(({ applied }) => applied.digest)).size, 1);
  }
  for (const state of states) assertEquals(state, states[0]);
  const exact = await trainAlone(2, virtualWorkers, { sumLength });
  assertEquals(states[0].slice(-exactValues), exact.slice(-exactValues));
  const isRounded = states[0].map((value, i) => value === exact[i] ? 0 : 1);
  assert(isRounded.reduce((sum, is) => sum + is) > exact.length / 2);
});

for (const isFrozen of [false, true]) {
  const how = isFrozen ? "stopped" : "killed";
  Deno.test(`a member that is ${how} in the middle of a step is done without`, async () => {
    await using group = await Group.start(3, isFrozen ? 200 : 500);
    const { replicas, nodes } = joinAll(group, newReplicas(2));
    const victim = new Worker(new URL("./victim.ts", import.meta.url), { type: "module" });
    const inTheMiddle = new Promise((resolve) => victim.onmessage = resolve);
    const order: Order = {
      coordinator: group.url,
      memberId: "victim",
      bucketElements: BUCKET_ELEMENTS,
      step: 3,
      isFrozen,
    };
    victim.postMessage(order);
    await inTheMiddle;
    if (!isFrozen) victim.terminate();
    await finish(...nodes);
    victim.terminate();
    assertTrained(await trainAlone(6, virtualWorkers), ...replicas);
    for (const id of ["m0", "m1"]) {
      const told = group.log.filter((line) => line.startsWith(`${id} news: `)).join("\n");
      assertMatch(told, /victim.*(nothing heard|lost).*; step 3 is begun again/);
      assertMatch(
        told,
        /Step 3 begins again with 2 nodes, without victim.*; this one has 4 of 8 virtual workers/,
      );
    }
  });
}

Deno.test("a newcomer copies the state and enters within two steps, though it replays more slowly than the others go on", async () => {
  const totalSteps = 60;
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  await using group = await Group.start(2);
  const { replicas, nodes } = joinAll(group, newReplicas(2, { totalSteps }));
  const newcomer = new FakeReplica({ totalSteps });
  const hasEntered = () => newcomer.calls.some((call) => call.startsWith("sums"));
  const isThere = Promise.withResolvers<void>();
  // The others go on while it copies, but don't finish before it is in.
  let [copiedFrom, copiedAt] = [0, Infinity];
  for (const replica of replicas) {
    replica.beforeSums = async (step) => {
      if (step === 4) isThere.resolve();
      if (step > 4 && !hasEntered()) await pause(50);
    };
  }
  newcomer.beforeLoad = async () => {
    copiedFrom = replicas[0].applied.step;
    while (replicas[0].applied.step < copiedFrom + 6) await pause(10);
  };
  const { apply, load } = newcomer;
  newcomer.load = async (applied, chunks) => {
    await load.call(newcomer, applied, chunks);
    copiedAt = group.coordinator.status().step;
  };
  newcomer.apply = async (sum, digest, trainedMs, isReplayed) => {
    if (isReplayed) await pause(60);
    await apply.call(newcomer, sum, digest, trainedMs, isReplayed);
  };
  await isThere.promise;
  const node = group.join("newcomer", { replica: newcomer });
  await finish(node, ...nodes);
  assertTrained(await trainAlone(totalSteps, virtualWorkers), newcomer, ...replicas);
  const begun = newcomer.calls.findIndex((call) => call.startsWith("sums"));
  const [loaded, ...replayed] = newcomer.calls.slice(0, begun);
  assertMatch(loaded, /^load/);
  assert(replayed.length >= 6 && replayed.every((call) => call.startsWith("replay")), replayed.join());
  const entered = Number(newcomer.calls[begun].split(" ")[1]);
  assert(entered <= copiedAt + 3, `${entered - 1 - copiedAt} steps were done between its copy and its entry`);
  assertEquals(newcomer.calls.at(-1), `apply ${totalSteps}`); // which it has a part in
});

Deno.test("a newcomer whose copy takes longer than sums are kept copies again, while the others wait", async () => {
  const totalSteps = 100;
  await using group = await Group.start(2);
  const { replicas, nodes } = joinAll(group, newReplicas(2, { sumLength: 65, totalSteps }));
  const newcomer = new FakeReplica({ sumLength: 65, totalSteps });
  const [isThere, isLoading, hasCopied] = [0, 1, 2].map(() => Promise.withResolvers<void>());
  atStep(replicas[0], 5, isThere.resolve);
  replicas[1].beforeSums = async (step) => {
    if (step === 5) await isLoading.promise; // the other one's state can be copied meanwhile
    if (step === 90) await hasCopied.promise;
  };
  newcomer.beforeLoad = async () => {
    newcomer.beforeLoad = () => {};
    isLoading.resolve();
    while (replicas[0].applied.step < 89) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const { load } = newcomer;
  newcomer.load = async (applied, chunks) => {
    await load.call(newcomer, applied, chunks);
    setTimeout(() => hasCopied.resolve(), 100); // so that it hears before that its sums are gone
  };
  await isThere.promise;
  const node = group.join("newcomer", { replica: newcomer });
  await finish(node, ...nodes);
  assertTrained(await trainAlone(totalSteps, virtualWorkers, { sumLength: 65 }), newcomer, ...replicas);
  const [first, second, third, fourth] = newcomer.calls;
  assertEquals(first, "load 4");
  assertMatch([second, third, fourth].join(), /^load 9\d,sums 9\d,apply 9\d$/);
});

Deno.test("a group goes on from the newest state, whoever comes with it", async () => {
  await using group = await Group.start(2);
  const replicas = newReplicas(2);
  const [isAtWork, isBack] = [0, 1].map(() => Promise.withResolvers<void>());
  replicas[1].beforeSums = (step) => {
    if (step !== 3) return;
    isAtWork.resolve();
    return isBack.promise;
  };
  const { nodes } = joinAll(group, replicas);
  await isAtWork.promise;
  const late = new FakeReplica();
  late.state = await trainAlone(4, virtualWorkers);
  late.applied = { step: 4, digest: "4444444444" };
  let begun = 0;
  late.beforeSums = (step) => void (begun ||= step);
  const lateNode = group.join("late", { replica: late });
  const { load } = replicas[0];
  replicas[0].load = (...state) => {
    isBack.resolve();
    return load.apply(replicas[0], state);
  };
  await finish(lateNode, ...nodes);
  assertTrained(await trainAlone(6, virtualWorkers), late, ...replicas);
  assertEquals(begun, 5);
});

Deno.test("members hold while the coordinator is away, and go on with the next one", async () => {
  await using group = await Group.start(3);
  const replicas = newReplicas(3);
  const restarted = Promise.withResolvers<void>();
  atStep(replicas[1], 3, () => group.restartCoordinator().then(restarted.resolve, restarted.reject));
  const { nodes } = joinAll(group, replicas);
  await restarted.promise;
  await finish(...nodes);
  assertTrained(await trainAlone(6, virtualWorkers), ...replicas);
});

Deno.test("time without a coordinator is no training time and told, a try that was given up counts", async () => {
  const HOUR = 3_600_000;
  const { now } = performance;
  let offset = 0;
  performance.now = () => now.call(performance) + offset;
  try {
    await using group = await Group.start(2);
    const replicas = newReplicas(2);
    const restarted = Promise.withResolvers<void>();
    const areHeld = replicas.map(() => Promise.withResolvers<void>());
    let isRestarted = false;
    const restart = () =>
      new Promise<void>((goOn) => {
        const meanwhile = async () => {
          goOn();
          await Promise.all(areHeld.map(({ promise }) => promise));
          offset += HOUR;
        };
        group.restartCoordinator(meanwhile).then(restarted.resolve, restarted.reject);
      });
    let tokensPerSecond = 0; // as `status` has it after step 3
    replicas[1].beforeSums = async (step) => {
      if (step === 3 && !isRestarted) {
        isRestarted = true;
        await restart();
      }
      while (step === 4 && tokensPerSecond === 0) {
        tokensPerSecond = group.coordinator.status().members.find(({ id }) => id === "m1")?.tokensPerSecond ??
          0;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    atStep(replicas[0], 4, () => {
      offset += HOUR;
      throw new ExchangeError("a try to be given up", null);
    });
    const nodes = replicas.map((replica, i) =>
      group.join(`m${i}`, {
        replica,
        onAction: ({ kind }) => kind === "pause" ? areHeld[i].resolve() : undefined,
      })
    );
    await restarted.promise;
    await finish(...nodes);
    assertTrained(await trainAlone(6, virtualWorkers), ...replicas);
    for (const [i, { trainedMs }] of replicas.entries()) {
      assert(trainedMs.get(3)! < HOUR, "what it held for counts");
      const lines = group.log.filter((line) => line.startsWith(`m${i} news: The coordinator is `)).join("\n");
      assertMatch(lines, /lost: its connection has ended; this node holds .*\n.*back after 3600 s/);
    }
    assert(replicas[0].trainedMs.get(4)! >= HOUR, "the first try doesn't count");
    assert(tokensPerSecond > 1000 * 64 / HOUR, "status counts what it held for");
  } finally {
    performance.now = now;
  }
});

Deno.test("a member of another run, version, config, tokenizer, adapter or token is sent away by one line, and the group goes on", async () => {
  await using group = await Group.start(2);
  const refused = Promise.withResolvers<void>();
  const replicas = newReplicas(2);
  atStep(replicas[0], 2, () => refused.promise);
  const { nodes } = joinAll(group, replicas);
  await new Promise<void>((resolve) => atStep(replicas[1], 2, resolve));

  const others: [Partial<Identity>, RegExp][] = [
    [{ run: "other" }, /of run "other"/],
    [{ version: "0.0.1" }, /version 0\.0\.1, this group/],
    [{ virtualWorkers: 4 }, /4 virtual workers, this group 8/],
    [{ configDigest: "0ddba11c" }, /config/],
    [{ tokenizerHash: "0ddba11c" }, /tokenizer/],
    [{ probe: "0ddba11c" }, /adapter computes other bits/],
  ];
  for (const [difference, expected] of others) {
    const identity = { ...groupIdentity, ...difference };
    const { refusal } = await group.join("stranger", { replica: new FakeReplica(), identity }).done;
    assertMatch(refusal?.reason ?? "", expected);
    assertEquals(refusal?.retry, false);
    assertEquals(group.coordinatorLog.at(-1), `stranger is refused: ${refusal?.reason}`);
  }
  const spy = group.join("spy", {
    replica: new FakeReplica(),
    token: await importToken("not the group's token"),
  });
  await assertRejects(() => spy.done, UserError, "refused the token, expected the one");

  refused.resolve();
  await finish(...nodes);
  assertTrained(await trainAlone(6, virtualWorkers), ...replicas);
});

Deno.test("a member that nobody can reach, or whose disk is full, is named, and the others go on", async () => {
  await using group = await Group.start(4);
  const [first, second, full, far] = newReplicas(4);
  full.apply = () => Promise.reject(new UserError("Cannot write model.safetensors: no space left"));
  const { nodes } = joinAll(group, [first, second]);
  const fullNode = group.join("full", { replica: full });
  const farNode = group.join("far", { replica: far, listen: { url: "ws://no-such-host.invalid:1" } });
  await assertRejects(() => fullNode.done, UserError, "no space left");
  await finish(...nodes, farNode);
  assertTrained(await trainAlone(6, virtualWorkers), first, second, far);
  const lines = group.coordinatorLog;
  assert(
    lines.some((line) => line.startsWith("far stands aside for 2 min: far and each of ")),
    lines.join("\n"),
  );
  assert(!far.calls.some((call) => call === "sums 2"), "who stands aside has no share");
  const unreachable =
    /because of far: ws:\/\/no-such-host.invalid:1\/data cannot be reached: the name does not resolve/;
  assert(lines.some((line) => unreachable.test(line)), lines.join("\n"));
  assert(
    lines.some((line) =>
      line.startsWith("full has given up step 2: Cannot write model.safetensors: no space left")
    ),
    lines.join("\n"),
  );
});

Deno.test("who comes when the run has finished copies its last state as long as members stay for somebody", async () => {
  await using group = await Group.start(2);
  const totalSteps = 40;
  const { replicas, nodes } = joinAll(group, newReplicas(2, { totalSteps }));
  const [slow, late] = newReplicas(2, { totalSteps });
  const [isThere, isCopying, mayCopy] = [1, 2, 3].map(() => Promise.withResolvers<void>());
  let isSlow = true;
  slow.beforeLoad = () => {
    isSlow = false;
    isCopying.resolve();
    return mayCopy.promise;
  };
  replicas[0].beforeSums = async (step) => {
    if (step === 2) isThere.resolve();
    if (step >= 2 && isSlow) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await isThere.promise;
  const slowNode = group.join("slow", { replica: slow });
  await isCopying.promise;
  while (group.coordinator.status().phase === "training") {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await finish(group.join("late", { replica: late }));
  mayCopy.resolve();
  await finish(slowNode, ...nodes);
  assertTrained(await trainAlone(totalSteps, virtualWorkers), late, slow, ...replicas);
});

Deno.test("members above the number of virtual workers stand by, and see the run to its end", async () => {
  await using group = await Group.start(4);
  const identity = { ...groupIdentity, virtualWorkers: 2 };
  const replicas = newReplicas(4);
  const nodes = replicas.map((replica, i) => group.join(`m${i}`, { replica, identity }));
  await finish(...nodes);
  const worked = replicas.filter(({ calls }) => calls.some((call) => call.startsWith("sums")));
  assertEquals(worked.length, 2);
  assertTrained(await trainAlone(6, 2), ...replicas);
});

Deno.test("a group trains over wss with certificates of a private CA, and nobody comes in without it", async () => {
  const [cert, key] = await Promise.all(
    ["server.pem", "serverKey.pem"].map((name) => Deno.readTextFile(new URL(`tls/${name}`, import.meta.url))),
  );
  const tls = { cert, key };
  const openSocket = await openWithCa(new URL("tls/ca.pem", import.meta.url).pathname);
  await using group = await Group.start(2, 500, tls);
  const replicas = newReplicas(2);
  const nodes = replicas.map((replica, i) => group.join(`m${i}`, { replica, openSocket, listen: { tls } }));
  assert([group.url, ...nodes.map(({ url }) => url)].every((url) => url.startsWith("wss://127.0.0.1:")));
  const stranger = group.join("stranger", { replica: new FakeReplica(), listen: { tls } });
  await assertRejects(() => stranger.done, UserError, "has a certificate that is not trusted");

  const plain = { replica: new FakeReplica(), listen: { url: "ws://10.0.0.7:7800" } };
  const forgotten =
    "The group is reached over wss, but this node at ws://10.0.0.7:7800, where gradients and weights";
  assertThrows(() => group.join("plain", plain), UserError, forgotten);
  // one that has come to the coordinator by another way is refused by it
  const detour = group.join("plain", {
    ...plain,
    coordinator: group.url.replace("wss:", "ws:"),
    openSocket: (url, protocol) => openSocket(url.replace("ws:", "wss:"), protocol),
  });
  assertStringIncludes((await detour.done).refusal?.reason ?? "", forgotten);
  assertStringIncludes(group.coordinatorLog.join("\n"), `plain is refused: ${forgotten}`);
  await finish(...nodes);
  assertTrained(await trainAlone(6, virtualWorkers), ...replicas);
});

Deno.test("a member whose gradients are not finite is named, and stands aside, or is sent away where it found that itself", async () => {
  await using group = await Group.start(3);
  const { replicas: [first, second, third], nodes } = joinAll(group, newReplicas(3));
  second.spoil = (step, gradient) => {
    if (step === 2) gradient[4999] = NaN;
  };
  await finish(nodes[0], nodes[2]);
  const { refusal } = await nodes[1].done;
  const found = "A gradient of m1 is not finite at element 4999";
  assertTrained(await trainAlone(6, virtualWorkers), first, third, ...(refusal === null ? [second] : []));
  const said = refusal?.reason ?? group.coordinatorLog.find((line) => line.startsWith("m1 stands aside")) ??
    "";
  assert(said.startsWith("m1 ") && said.includes(found), said);
});

Deno.test("a later process of a member's name takes its place, and the one that was cut off doesn't come back", async () => {
  await using group = await Group.start(2);
  const [first, older, later] = newReplicas(3, { totalSteps: 1_000_000 });
  first.beforeSums = () => new Promise((resolve) => setTimeout(resolve, 10));
  const sockets: WebSocket[] = [];
  let isCut = false;
  const openSocket = (url: string, protocol: string) => {
    const socket = new WebSocket(isCut ? "ws://127.0.0.1:1/" : url, protocol);
    sockets.push(socket);
    return socket;
  };
  const hasSteps = async (replica: FakeReplica, count: number) => {
    const goal = replica.applied.step + count;
    while (replica.applied.step < goal) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  group.join("m0", { replica: first });
  const olderNode = group.join("m1", { replica: older, openSocket });
  await hasSteps(older, 2);
  isCut = true;
  for (const socket of sockets) socket.close();
  await hasSteps(first, 2);
  group.join("m1", { replica: later });
  const isIn = () => later.calls.some((call) => call.startsWith("sums"));
  while (!isIn()) await new Promise((resolve) => setTimeout(resolve, 10));
  isCut = false;
  const { refusal } = await olderNode.done;
  assertEquals(refusal?.retry, false);
  assertMatch(refusal?.reason ?? "", /^A later process has joined as m1 and takes the place of this one/);
  const { epoch } = group.coordinator.status();
  await hasSteps(later, 5);
  assertEquals(group.coordinator.status().epoch, epoch);
});

Deno.test("a member whose state is not what its digest says is found before the step counts, and copies the state", async () => {
  const totalSteps = 12;
  const expected = await trainAlone(totalSteps, virtualWorkers, { totalSteps });
  await using group = await Group.start(3);
  const { replicas, nodes } = joinAll(group, newReplicas(3, { totalSteps }));
  atStep(replicas[1], 4, () => void replicas[1].state[0]++);
  await finish(...nodes);
  assertTrained(expected, ...replicas);
  const found = "m1 has other weights after step 3 than the majority, and will copy the state";
  assert(group.coordinatorLog.some((line) => line.startsWith(found)), group.coordinatorLog.join("\n"));
  assertEquals(replicas.map(({ calls }) => calls.some((call) => call.startsWith("load"))), [
    false,
    true,
    false,
  ]);
});

Deno.test("of two members whose states differ under one digest none is right: the group stops", async () => {
  await using group = await Group.start(2);
  group.coordinator.ended.catch(() => {});
  const { replicas, nodes } = joinAll(group, newReplicas(2));
  atStep(replicas[1], 4, () => void replicas[1].state[0]++);
  for (const { done } of nodes) {
    assertMatch((await done).refusal?.reason ?? "", /^The weights of m0, m1 after step 3 differ/);
  }
  assertEquals(replicas.map(({ applied }) => applied.step), [3, 3]);
});

Deno.test("a step that nobody can do is left out by all, and by who comes later: the same digest for any number", async () => {
  const totalSteps = 40;
  const isNotFinite = (step: number) => step === 3 || step % 10 === 0;
  const digests = new Set<string>();
  for (const members of [1, 3]) {
    await using group = await Group.start(members);
    const replicas = newReplicas(members, { totalSteps });
    const newcomer = new FakeReplica({ totalSteps });
    const hasEntered = () => newcomer.calls.some((call) => call.startsWith("sums"));
    const isThere = Promise.withResolvers<void>();
    for (const replica of [...replicas, newcomer]) {
      replica.allowSkip();
      replica.beforeSums = async (step) => {
        if (isNotFinite(step)) throw new NotFiniteError(`Step ${step} has a loss that is not finite`);
        if (step === 5) isThere.resolve();
        if (step > 5 && !hasEntered()) await new Promise((resolve) => setTimeout(resolve, 50));
      };
    }
    const { nodes } = joinAll(group, replicas);
    await isThere.promise;
    await finish(...nodes, group.join("newcomer", { replica: newcomer }));
    for (const { calls } of replicas) {
      const skips = calls.filter((call) => call.startsWith("skip"));
      assertEquals(skips, ["skip 3", "skip 10", "skip 20", "skip 30", "skip 40"]);
    }
    assertEquals(newcomer.applied, replicas[0].applied);
    assert(sameBits(newcomer.state, replicas[0].state));
    digests.add(replicas[0].applied.digest);
  }
  assertEquals(digests.size, 1);
});

Deno.test("a member that alone finds steps not finite is sent away, and none is left out", async () => {
  await using group = await Group.start(3);
  const replicas = newReplicas(3);
  for (const replica of replicas) replica.allowSkip();
  const { nodes } = joinAll(group, replicas);
  replicas[1].beforeSums = (step) => {
    if (step >= 3) throw new NotFiniteError(`Step ${step} has a loss that is not finite`);
  };
  const { refusal } = await nodes[1].done;
  assertMatch(refusal?.reason ?? "", /^m1 alone found step 3 not finite/);
  await finish(nodes[0], nodes[2]);
  assertTrained(await trainAlone(6, virtualWorkers), replicas[0], replicas[2]);
});

Deno.test("the status tells who is at work while the others wait for its part", async () => {
  await using group = await Group.start(2, 100);
  const { replicas: [, second], nodes } = joinAll(group, newReplicas(2));
  const hang = Promise.withResolvers<void>();
  atStep(second, 3, () => hang.promise);
  const atWork = () => group.coordinator.status().members.map(({ atWorkMs }) => atWorkMs !== null).join();
  while (group.coordinator.status().step < 2 || atWork() !== "false,true") {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  hang.resolve();
  await finish(...nodes);
});

Deno.test("leave() ends a member's part at the next step, and the others go on", async () => {
  await using group = await Group.start(3);
  const { replicas: [first, second, third], nodes } = joinAll(group, newReplicas(3));
  atStep(second, 3, () => nodes[1].leave(false));
  await finish(...nodes);
  assertEquals(second.applied.step, 3);
  assertTrained(await trainAlone(6, virtualWorkers), first, third);
});

Deno.test("an aborted signal, or what the replica throws, ends a member at once", async () => {
  await using group = await Group.start(3);
  const { replicas: [first, second], nodes } = joinAll(group, newReplicas(2));
  const stop = new AbortController();
  const stopped = new FakeReplica();
  atStep(stopped, 2, () => stop.abort(new Error("stopped by the test")));
  const stoppedNode = group.join("stopped", { replica: stopped, signal: stop.signal });
  atStep(second, 4, () => Promise.reject(new Error("the device is lost")));
  await assertRejects(() => stoppedNode.done, Error, "stopped by the test");
  await assertRejects(() => nodes[1].done, Error, "the device is lost");
  await finish(nodes[0]);
  assertTrained(await trainAlone(6, virtualWorkers), first);
});

Deno.test("joinGroup() wants an address for the others where it listens on all", () => {
  const join = () =>
    joinGroup({
      coordinator: "ws://127.0.0.1:1",
      memberId: "m0",
      identity: groupIdentity,
      replica: new FakeReplica(),
      token,
      listen: { hostname: "0.0.0.0" },
      tokensOf: () => 64,
      log: () => {},
    });
  assertThrows(join, UserError, "give the address to tell the others");
});
