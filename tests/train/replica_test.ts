import {
  assert,
  assertEquals,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@std/path";
import type { Batch } from "../../src/data/batch.ts";
import { UserError } from "../../src/errors.ts";
import { NotFiniteError } from "../../src/net/replica.ts";
import { shareOut } from "../../src/net/sum/shares.ts";
import { newestIntact } from "../../src/train/findCheckpoint.ts";
import { type Node, openNode, stepTogether, trainTogether } from "./group.ts";
import { checkpointNames, readMetrics, tinyConfig, tinyRun, withFolder } from "./tinyRun.ts";

const CONFIG = tinyConfig("scale.virtualWorkers=4", "log.every=1", "checkpoint.keep=9");

function openNodes(count: number, config = CONFIG): Promise<Node[]> {
  return Promise.all(Array.from({ length: count }, () => openNode(null, config)));
}

/** What every node's own checkpoint of a step says of its state. */
async function checkpointOf(run: string, step: number) {
  const found = await newestIntact(join(run, "checkpoints"), undefined, (other) => other === step);
  return { state: found!.state, digest: found!.manifest.digest };
}

async function loadFrom(donor: Node, newcomer: Node): Promise<void> {
  const { applied, chunks } = await donor.replica.snapshot();
  await newcomer.replica.load(applied, chunks());
}

Deno.test("TrainingReplica: any number of nodes tells, keeps and comes to what one alone does", async () => {
  for (const virtualWorkers of [4, 5]) {
    const config = tinyConfig(`scale.virtualWorkers=${virtualWorkers}`, "log.every=1", "checkpoint.keep=9");
    await withFolder(async (folder) => {
      const alone = await tinyRun(join(folder, "alone"), config);
      for (let count = 1; count <= virtualWorkers; count++) {
        const run = join(folder, `${count}`);
        const nodes = [await openNode(run, config), ...await openNodes(count - 1, config)];
        await trainTogether(nodes, config);
        const results = await Promise.all(nodes.map((node) => node.finish()));
        const where = `${count} nodes, ${virtualWorkers} virtual workers`;
        assertEquals(results[0], { ...alone, folder: run }, where);
        for (const result of results.slice(1)) assertEquals(result, { ...alone, folder: null }, where);
        assertEquals(readMetrics(run), readMetrics(join(folder, "alone")), where);
        for (const step of [3, 6, 7]) {
          const [ours, theirs] = [
            await checkpointOf(run, step),
            await checkpointOf(join(folder, "alone"), step),
          ];
          assertEquals(ours.digest, theirs.digest, where);
          assertEquals({ ...ours.state, groupDigest: null }, theirs.state, where);
        }
      }
    });
  }
});

Deno.test("TrainingReplica: sums() tells by a hash whether the weights are those of the others, and adds it to nothing", async () => {
  const [a, b] = await openNodes(2);
  const sumsOf = async ({ replica }: Node, from: number, parts: number) => {
    const into = [0, 1].map(() => new Float32Array(replica.sumLength));
    const pieces = [{ from, to: from + 1 }, { from: from + 1, to: from + 2 }];
    const hash = await replica.sums(pieces, into, new AbortController().signal, { parts, final: () => {} });
    assertEquals(into.map((sum) => sum.at(-1)), [0, 0]);
    return hash;
  };
  const hash = await sumsOf(a, 0, 1);
  assertMatch(hash, /^[0-9a-f]{8}$/);
  assertEquals([await sumsOf(b, 2, 3), await sumsOf(b, 0, 2)], [hash, hash]);
  b.engine.weights.get("tok_emb")![1] += 1;
  assertNotEquals(await sumsOf(b, 2, 3), hash);
  for (const node of [a, b]) node[Symbol.dispose]();
});

Deno.test("TrainingReplica: what it is told that a step took is in the step's time, and nothing that came before", async () => {
  const HOUR = 3_600_000;
  const { now } = performance;
  let offset = 0;
  const times: number[] = [];
  const node = await openNode(null, CONFIG, { onProgress: ({ msPerStep }) => times.push(msPerStep) });
  try {
    await trainTogether([node], CONFIG, 1);
    performance.now = () => now.call(performance) + offset;
    offset = HOUR; // in which a coordinator was awaited
    await stepTogether([node], 4);
    await stepTogether([node], 4, HOUR);
  } finally {
    performance.now = now;
    node[Symbol.dispose]();
  }
  assertEquals(times.map((ms) => ms >= HOUR), [false, false, true]);
});

Deno.test("TrainingReplica: a newcomer takes over a snapshot, which stays as it is while the others go on", async () => {
  const expected = await tinyRun(null, CONFIG);
  const nodes = await openNodes(2);
  await trainTogether(nodes, CONFIG, 2);
  const snapshot = await nodes[0].replica.snapshot();
  const chunks = await Array.fromAsync(snapshot.chunks());
  assertEquals(chunks.reduce((sum, { length }) => sum + length, 0), snapshot.bytes);
  await trainTogether(nodes, CONFIG, 1);

  const [newcomer] = await openNodes(1);
  await newcomer.replica.load(snapshot.applied, snapshot.chunks());
  assertEquals(newcomer.replica.applied, snapshot.applied);
  assertEquals(newcomer.replica.applied.step, 2);
  assertEquals(await Array.fromAsync((await newcomer.replica.snapshot()).chunks()), chunks);

  await loadFrom(nodes[1], newcomer); // over a state that it has already
  await trainTogether([newcomer, ...nodes], CONFIG, 2);
  nodes[0][Symbol.dispose](); // lost
  await trainTogether([newcomer, nodes[1]], CONFIG);
  for (const node of [newcomer, nodes[1]]) assertEquals((await node.finish()).digest, expected.digest);
});

Deno.test("TrainingReplica.snapshot() has chunks of at most 1 MiB, and load() refuses what is cut or too long", async () => {
  const config = tinyConfig("model.vocabSize=30000"); // 0.5 MB of weights, 1 MB of moments
  const [donor, newcomer] = await openNodes(2, config);
  const { applied, chunks, bytes } = await donor.replica.snapshot();
  const whole = await Array.fromAsync(chunks());
  assert(whole.length > 1);
  for (const chunk of whole) assertLessOrEqual(chunk.buffer.byteLength, 2 ** 20);
  const load = (parts: Uint8Array<ArrayBuffer>[]) =>
    newcomer.replica.load(applied, ReadableStream.from(parts));
  await assertRejects(() => load([...whole.slice(0, -1), whole.at(-1)!.slice(1)]), Error, "ended too soon");
  await assertRejects(() => load([...whole, new Uint8Array(1)]), Error, "went on after its end");
  await assertRejects(() => load([new Uint8Array(4).fill(255), ...whole]), Error, "header");
  await load(whole.flatMap((chunk) => [chunk.slice(0, 7), new Uint8Array(0), chunk.slice(7)]));
  assertEquals(await newcomer.finish(), { ...await donor.finish() });
  assertLessOrEqual(bytes, whole.length * 2 ** 20);
});

Deno.test("TrainingReplica.finish() after a load() that was cut off saves what restore() gives", async () => {
  await withFolder(async (folder) => {
    const [donor, untouched] = await openNodes(2);
    await trainTogether([donor], CONFIG, 5);
    const { applied, chunks } = await donor.replica.snapshot();
    const whole = (await Array.fromAsync(chunks())).flatMap((chunk) => [...chunk]);
    const cutOff = async function* () {
      yield Uint8Array.from(whole.slice(0, whole.length / 2)); // most of the weights
      await Promise.reject(new Error("The group has finished"));
    };
    const first = await untouched.finish();
    for (const steps of [0, 3]) {
      const run = join(folder, `${steps}`);
      const late = await openNode(run, CONFIG);
      await trainTogether([late], CONFIG, steps);
      const expected = steps === 0 ? first.digest : (await checkpointOf(run, steps)).digest;
      await assertRejects(() => late.replica.load(applied, cutOff()), Error, "The group has finished");
      const result = await late.finish();
      assertEquals([result.steps, result.digest], [steps, expected]);
      assertEquals((await checkpointOf(run, steps)).digest, expected);
      const again = await openNode(run, CONFIG);
      await trainTogether([again], CONFIG);
      assertEquals((await again.finish()).digest, (await tinyRun(null, CONFIG)).digest);
    }
  });
});

Deno.test("a run goes on alone, in groups of any size and alone again, to the same digest", async () => {
  await withFolder(async (folder) => {
    const expected = await tinyRun(null, CONFIG);
    const run = join(folder, "run");
    const stop = new AbortController();
    const signal = stop.signal;
    await tinyRun(run, CONFIG, { signal, onAccumulate: (_, step) => step === 3 ? stop.abort() : undefined });

    const first = await openNode(run, CONFIG);
    const alone = await checkpointOf(run, 2);
    assertEquals(
      first.replica.applied,
      { step: 2, digest: alone.digest },
      "what was done alone names itself",
    );
    const other = await openNode(null, CONFIG);
    assertEquals(other.replica.applied.step, 0);
    await loadFrom(first, other);
    await trainTogether([first, other], CONFIG, 2);
    const { applied } = first.replica;
    assertNotEquals(applied.digest, alone.digest);
    const { digest } = await first.finish();
    const kept = await checkpointOf(run, 4);
    assertEquals([kept.state.groupDigest, kept.digest], [applied.digest, digest]);

    const again = await openNode(run, CONFIG);
    assertEquals(again.replica.applied, applied, "the group's digest survives a restart");
    await trainTogether([other, again], CONFIG, 1); // the other one lives still
    await again.finish();

    const before = await tinyRun(run, CONFIG, { isPoisoned: (_, step) => step === 7 }).catch(() => null);
    assertEquals(before, null);
    assertEquals((await checkpointOf(run, 6)).state.groupDigest, null, "the last step was done alone");
    const nodes = [await openNode(run, CONFIG), ...await openNodes(2)];
    await loadFrom(nodes[0], nodes[1]);
    await loadFrom(nodes[0], nodes[2]);
    await trainTogether(nodes, CONFIG);
    for (const node of nodes) assertEquals((await node.finish()).digest, expected.digest);
  });
});

Deno.test("what rounding has lost is kept over a resume, and is each node's own", async () => {
  const config = tinyConfig("scale.virtualWorkers=3", "scale.wire=bf16");
  await withFolder(async (folder) => {
    const paths = ["a", "b"].map((name) => join(folder, name));
    const open = (paths: readonly (string | null)[]) =>
      Promise.all(paths.map((path) => openNode(path, config)));
    const whole = await open([null, null]);
    await trainTogether(whole, config);
    const expected = await Promise.all(whole.map((node) => node.finish()));
    assertEquals(expected[0].digest, expected[1].digest);

    const before = await open(paths);
    await trainTogether(before, config, 4);
    for (const node of before) await node.finish();
    const kept = paths.map((path) =>
      Deno.readFileSync(join(path, "checkpoints", "step-4", "residual.safetensors"))
    );
    assertNotEquals(kept[0], kept[1]);
    const messages: string[] = [];
    const onMessage = (text: string) => void messages.push(text);
    const after = await Promise.all(paths.map((path) => openNode(path, config, { onMessage })));
    await trainTogether(after, config);
    for (const node of after) assertEquals((await node.finish()).digest, expected[0].digest);
    assertStringIncludes(messages.join("\n"), "scale.wire is bf16: gradients are rounded on their way");

    const [first, newcomer] = [await openNode(paths[0], config), await openNode(null, config)];
    await loadFrom(first, newcomer); // without what the first one has lost
    assertEquals((await newcomer.finish()).digest, expected[0].digest);
    await first.finish();
  });
});

Deno.test("TrainingReplica.restore() goes back to the newest checkpoint, or to the first weights", async () => {
  await withFolder(async (run) => {
    const expected = await tinyRun(null, CONFIG);
    const [kept, unkept] = [await openNode(run, CONFIG), await openNode(null, CONFIG)];
    const start = unkept.replica.applied;
    await trainTogether([kept, unkept], CONFIG, 3); // and is saved
    const third = kept.replica.applied;
    assertEquals([kept, unkept].map(({ replica }) => replica.savedStep), [3, 0]);
    await trainTogether([kept, unkept], CONFIG, 2);
    assertEquals(await kept.replica.restore(), third);
    assertEquals(kept.replica.applied, third);
    assertEquals(readMetrics(run).at(-1)!.step, 3);
    assertEquals(await unkept.replica.restore(), start);
    await loadFrom(kept, unkept);
    await trainTogether([unkept, kept], CONFIG);
    for (const node of [kept, unkept]) assertEquals((await node.finish()).digest, expected.digest);
  });
});

Deno.test("TrainingReplica.load() puts checkpoints aside that the group has not come to", async () => {
  await withFolder(async (run) => {
    const ahead = await openNode(run, CONFIG);
    await trainTogether([ahead], CONFIG, 6);
    assertEquals(checkpointNames(run), ["step-3", "step-6"]);
    const [donor] = await openNodes(1);
    await trainTogether([donor], CONFIG, 4);
    await loadFrom(donor, ahead);
    assertEquals(checkpointNames(run), ["replaced-step-6", "step-3"]);
    assertEquals(await ahead.replica.keep(), true);
    assertEquals(checkpointNames(run), ["replaced-step-6", "step-3", "step-4"]);
    assertEquals(ahead.replica.savedStep, 4);
    assertEquals(readMetrics(run).at(-1)!.step, 4);
    await trainTogether([ahead, donor], CONFIG);
    assertEquals((await ahead.finish()).digest, (await tinyRun(null, CONFIG)).digest);
    assert(checkpointNames(run).includes("step-6"));
  });
});

Deno.test("TrainingReplica.restore() puts checkpoints aside that may be wrong, load() goes on from what is older", async () => {
  await withFolder(async (run) => {
    const [node, donor] = [await openNode(run, CONFIG), await openNode(null, CONFIG)];
    await trainTogether([node, donor], CONFIG, 6);
    assertEquals(checkpointNames(run), ["step-3", "step-6"]);
    assertEquals((await node.replica.restore(5)).step, 3);
    assertEquals(checkpointNames(run), ["step-3", "wrong-step-6"]);
    await loadFrom(donor, node);
    assertEquals(node.replica.savedStep, 3); // the others wait for it
    await trainTogether([node, donor], CONFIG);
    const { digest } = await tinyRun(null, CONFIG);
    for (const each of [node, donor]) assertEquals((await each.finish()).digest, digest);
  });
});

Deno.test("TrainingReplica.sums() gives up with the signal's reason, and the step can be done again", async () => {
  const expected = await tinyRun(null, CONFIG);
  const gone = new Error("a peer is gone");
  const controller = new AbortController();
  const node = await openNode(null, CONFIG, {
    onAccumulate: ({ sampleIds }) => sampleIds.includes(7) ? controller.abort(gone) : undefined,
  });
  await trainTogether([node], CONFIG, 3);
  const pieces = shareOut(4, 2);
  const into = pieces.map(() => new Float32Array(node.replica.sumLength));
  const error = await assertRejects(() => node.replica.sums(pieces, into, controller.signal));
  assertEquals(error, gone);
  await trainTogether([node], CONFIG);
  assertEquals((await node.finish()).digest, expected.digest);
});

Deno.test("a sum that is not finite ends the node that has it, before it is sent", async () => {
  const poisoned = { isPoisoned: (_: Batch, step: number) => step === 5 };
  const nodes = [await openNode(null, CONFIG, poisoned), ...await openNodes(1)];
  await trainTogether(nodes, CONFIG, 4);
  const [own, other] = shareOut(4, 2);
  const into = [new Float32Array(nodes[0].replica.sumLength)];
  const { signal } = new AbortController();
  const { message } = await assertRejects(() => nodes[0].replica.sums([own], into, signal), UserError);
  assert(message.startsWith("Step 5 has a loss or a gradient that is not finite; "), message);
  await nodes[1].replica.sums([other], into, signal);
});

Deno.test("an update that is not finite ends every node in the same words", async () => {
  const nodes = await openNodes(3);
  await trainTogether(nodes, CONFIG, 4);
  const sum = new Float32Array(nodes[0].replica.sumLength).fill(NaN);
  const messages = await Promise.all(
    nodes.map(({ replica }) => assertRejects(() => replica.apply(sum, "00000000", 0), UserError)),
  ).then((errors) => new Set(errors.map(({ message }) => message)));
  assertEquals(messages.size, 1);
  assert([...messages][0].startsWith("Step 5 has loss "), [...messages][0]);
});

Deno.test("TrainingReplica.skip() leaves a step out as a run alone does, on every number of nodes", async () => {
  const config = tinyConfig(
    "scale.virtualWorkers=4",
    "log.every=1",
    "checkpoint.keep=9",
    "train.nonFinite=skip",
  );
  const poisoned = { isPoisoned: (_: Batch, step: number) => step === 4 };
  const expected = await tinyRun(null, config, poisoned);
  assertNotEquals(expected.digest, (await tinyRun(null, config)).digest);
  for (const count of [1, 3]) {
    const nodes: Node[] = [];
    for (let i = 0; i < count; i++) nodes.push(await openNode(null, config, poisoned));
    await trainTogether(nodes, config, 3);
    const whole = [new Float32Array(nodes[0].replica.sumLength)];
    const sums = () => nodes[0].replica.sums([{ from: 0, to: 4 }], whole, new AbortController().signal);
    const { message } = await assertRejects(sums, NotFiniteError);
    assertEquals(message, "Step 4 has a loss or a gradient that is not finite");
    for (const { replica } of nodes) await replica.skip!("0badcafe");
    assertEquals(nodes[0].replica.applied, { step: 4, digest: "0badcafe" });
    await trainTogether(nodes, config);
    for (const node of nodes) assertEquals((await node.finish()).digest, expected.digest);
  }
});

Deno.test("what rounding has lost in a step that is left out, or done without this node, goes to no other step", async () => {
  const config = tinyConfig("scale.virtualWorkers=3", "scale.wire=bf16", "train.nonFinite=skip");
  const { signal } = new AbortController();
  const whole = [{ from: 0, to: 3 }];
  await withFolder(async (folder) => {
    const residuals = await Promise.all(["kept", "skipped", "halted", "replayed"].map(async (name) => {
      const run = join(folder, name);
      const node = await openNode(run, config);
      await trainTogether([node], config, 4);
      const { replica } = node;
      if (name !== "kept") {
        const sum = new Float32Array(replica.sumLength);
        await replica.sums(whole, [sum], signal);
        if (name === "skipped") await replica.skip!("0badcafe");
        else if (name === "halted") await replica.apply(sum.fill(NaN), "0badcafe", 0);
        else await replica.apply(sum, "0badcafe", 0, true);
        assertEquals(replica.applied, { step: 5, digest: "0badcafe" });
      }
      await node.finish();
      const step = name === "kept" ? 4 : 5;
      return Deno.readFileSync(join(run, "checkpoints", `step-${step}`, "residual.safetensors"));
    }));
    for (const residual of residuals) assertEquals(residual, residuals[0]);
  });
});

Deno.test("a sum that becomes infinite as it is rounded is not sent", async () => {
  const largest = (2 - 2 ** -23) * 2 ** 127; // of the finite float32 values; the nearest bfloat16 is infinite
  const config = tinyConfig("scale.wire=bf16", "train.nonFinite=skip");
  const node = await openNode(null, config, {
    onSum: (sum) => void (sum[0] = largest),
  });
  const into = [new Float32Array(node.replica.sumLength)];
  const sums = () =>
    node.replica.sums([{ from: 0, to: config.scale.virtualWorkers }], into, new AbortController().signal);
  await assertRejects(sums, NotFiniteError);
});

Deno.test("TrainingReplica.open() refuses policies by which a group would go back or do a step again", async () => {
  const refused = [
    [["train.nonFinite=rollback"], "train.nonFinite is rollback, "],
    [["train.nonFinite=skip", "train.skippedStepCounts=false"], "train.skippedStepCounts is false, "],
  ] as const;
  for (const [overrides, expected] of refused) {
    const { message } = await assertRejects(() => openNode(null, tinyConfig(...overrides)), UserError);
    assert(message.startsWith(expected), message);
  }
  assertEquals((await openNode(null, CONFIG)).replica.skip, undefined);
});

Deno.test("the fake engine's bits depend on the order of a sum, which the tests above rest on", async () => {
  const other = tinyConfig("scale.virtualWorkers=3");
  assertNotEquals((await tinyRun(null, other)).digest, (await tinyRun(null, CONFIG)).digest);
});

Deno.test("a value that is not finite in a late part: what came before has left, that part has not; the step can be skipped", async () => {
  const config = tinyConfig("scale.virtualWorkers=3", "train.nonFinite=skip");
  const node = await openNode(null, config, { onSum: (sum) => void (sum[0] = NaN) }); // the lowest part comes last
  const into = [new Float32Array(node.replica.sumLength)];
  const told: (readonly [number, number])[] = [];
  const departure = { parts: 3, final: (from: number, to: number) => void told.push([from, to]) };
  await assertRejects(
    () => node.replica.sums([{ from: 0, to: 3 }], into, new AbortController().signal, departure),
    NotFiniteError,
  );
  assertEquals(told.length, 2);
  assert(told.every(([from]) => from > 0), JSON.stringify(told));
  await node.replica.skip!("0badcafe");
  assertEquals(node.replica.applied, { step: 1, digest: "0badcafe" });
});

Deno.test("sums() given up in the middle of its last piece leaves no trace in what rounding has lost", async () => {
  const config = tinyConfig("scale.virtualWorkers=3", "scale.wire=bf16");
  const pieces = [{ from: 0, to: 2 }, { from: 2, to: 3 }];
  const sumsOf = async (gaveUp: boolean) => {
    const node = await openNode(null, config);
    await trainTogether([node], config, 3);
    const into = pieces.map(() => new Float32Array(node.replica.sumLength));
    if (gaveUp) {
      const stop = new AbortController();
      const final = () => stop.abort(new Error("enough"));
      await assertRejects(
        () => node.replica.sums(pieces, into, stop.signal, { parts: 3, final }),
        Error,
        "enough",
      );
    }
    await node.replica.sums(pieces, into, new AbortController().signal, { parts: 2, final: () => {} });
    return into;
  };
  assertEquals(await sumsOf(true), await sumsOf(false));
});
