/** Whatever a model learns: groups of any size come to the bits of one process, and read just the plan's samples. */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "@std/path";
import { trainInGroup } from "../../src/api/join.ts";
import { datasetOptions, engineSpec } from "../../src/api/parts.ts";
import { auditSamples, type Entry } from "../../src/chaos/ledger.ts";
import { openRecorder } from "../../src/chaos/recorder.ts";
import { deriveRun } from "../../src/config/derive.ts";
import { resolveConfig } from "../../src/config/load.ts";
import type { RunConfig } from "../../src/config/schema.ts";
import { type Dataset, openDataset } from "../../src/data/dataset.ts";
import { type LocalEngine, openLocalEngine } from "../../src/engine/localEngine.ts";
import type { MemberAction } from "../../src/net/member/types.ts";
import { openRunFolder } from "../../src/train/runFolder.ts";
import { runTraining } from "../../src/train/trainer.ts";
import type { TrainingOptions, TrainingResult } from "../../src/train/trainingRun.ts";
import { testGpu } from "../_gpu.ts";
import { Group } from "../net/group.ts";
import { token } from "../net/sockets.ts";
import { readTree, withFolder } from "../train/tinyRun.ts";
import { TEXT } from "./support.ts";

/** Dropout, a ramp-up from 3 to 11 samples, and shares that are uneven on any number of nodes, at times without samples. */
const VIRTUAL_WORKERS = 9;
/** Nodes share a thread that engines block. */
const HEARTBEAT_MS = 5000;
const SETTINGS = [
  "tokenizer=chars",
  "model.numLayers=1",
  "model.modelDim=8",
  "model.numHeads=2",
  "model.seqLen=8",
  "model.dropout=0.1",
  "model.attentionDropout=0.1",
  "train.batchSize=11",
  "train.microBatchSize=2",
  'train.rampUp={"start": 3, "increment": 4, "samples": 12}',
  "train.duration=6 steps",
  "optimizer.warmup=1 steps",
  "validation.every=2 steps",
  "validation.samples=2",
  "checkpoint.every=null",
  "checkpoint.best=false",
  "log.every=1",
  "log.tensorboard=false",
  `scale.virtualWorkers=${VIRTUAL_WORKERS}`,
];

/** On how many nodes a run begins, and on how many it goes on. */
const RUNS: readonly (readonly [first: number, second: number, settings: readonly string[]])[] = [
  [2, 8, ["model.architecture=causalDecoder", "objective.kind=causal"]],
  [2, 1, ["model.architecture=causalDecoder", "objective.kind=prefix", "engine.hostSums=true"]],
  [2, 4, ["model.architecture=causalDecoder", "objective.kind=span", "scale.wire=bf16Gather"]],
  [3, 2, ["model.architecture=nonCausalDecoder", "objective.kind=prefix", "optimizer.kind=adafactor"]],
  [4, 3, ["model.architecture=nonCausalDecoder", "objective.kind=span"]],
  [2, 5, ["model.architecture=encoderDecoder", "objective.kind=causal", "scale.wire=bf16Gather"]],
  [4, 2, ["model.architecture=encoderDecoder", "objective.kind=prefix", "engine.recompute=true"]],
  [3, 8, ["model.architecture=encoderDecoder", "objective.kind=span", "engine.hostSums=true"]],
];
/** A newcomer catches up in the one step, a member leaves after the other. */
const [ENTER, LEAVE] = [2, 3];

/** A run, and engines on one device that all of its nodes use, one after the other. */
class Run implements AsyncDisposable {
  readonly #engines: LocalEngine[] = [];
  readonly #free: LocalEngine[] = [];

  private constructor(readonly config: RunConfig, readonly dataset: Dataset) {}

  static async open(overrides: readonly string[]): Promise<Run> {
    const config = resolveConfig({ overrides: [...SETTINGS, ...overrides] });
    return new Run(config, await openDataset(datasetOptions(config, null, null, TEXT)));
  }

  async alone(): Promise<TrainingResult> {
    const { config, dataset } = this;
    return await this.#with((engine) => runTraining({ config, engine, dataset, folder: null }));
  }

  /** Trains as a member of a group; what it did is added to `entries`. */
  async join(
    group: Group,
    memberId: string,
    options: NodeOptions,
    entries: Entry[],
  ): Promise<TrainingResult> {
    const { path = null, beforeSums, onAction, ...others } = options;
    const { url, openSocket } = group;
    const { config } = this;
    const recorder = openRecorder(this.dataset, (event) => entries.push({ ...event, at: 0 }));
    using folder = path === null ? null : await openRunFolder(path, config);
    return await this.#with((engine) => {
      const patient = beforeSums === undefined ? engine : waiting(engine, beforeSums);
      const training = { ...others, config, engine: patient, dataset: recorder.dataset, folder };
      return trainInGroup(training, { url, openSocket, token, memberId }, (action) => {
        recorder.onAction(action);
        onAction?.(action);
      });
    });
  }

  async #with<T>(use: (engine: LocalEngine) => Promise<T>): Promise<T> {
    const engine = this.#free.pop() ?? await this.#open();
    return await use(engine).finally(() => this.#free.push(engine));
  }

  async #open(): Promise<LocalEngine> {
    const { device } = await testGpu();
    const engine = await openLocalEngine(engineSpec(this.config, this.dataset), { device });
    this.#engines.push(engine);
    return engine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const engine of this.#engines) await engine.close();
  }
}

interface NodeOptions extends Pick<TrainingOptions, "signal" | "onProgress"> {
  /** Its run's folder. */
  readonly path?: string;
  readonly beforeSums?: () => Promise<void>;
  readonly onAction?: (action: MemberAction) => void;
}

/** An engine that waits before each sum. */
function waiting(engine: LocalEngine, before: () => Promise<void>): LocalEngine {
  return new Proxy(engine, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      if (key !== "beginStep") return value.bind(target);
      return (...args: unknown[]) => before().then(() => value.apply(target, args));
    },
  });
}

const outcome = ({ steps, digest, finalLoss, validation }: TrainingResult) => ({
  steps,
  digest,
  finalLoss,
  validation,
});

for (const [first, second, settings] of RUNS) {
  const what = settings.map((setting) => setting.replace(/^\w+\./, "")).join(" ");
  Deno.test(`${first} nodes, one more, one less, then ${second} come to the bits of one: ${what}`, async () => {
    await using run = await Run.open(settings);
    const alone = outcome(await run.alone());
    await withFolder(async (folder) => {
      const kept = join(folder, "kept");
      const entries: Entry[] = [];
      const { left, results } = await change(run, first, kept, entries);
      assertEquals(results.map(outcome), Array(first).fill(alone));
      assertEquals(auditSamples(entries, deriveRun(run.config)), []);
      assert(left >= LEAVE && left < alone.steps, `left after step ${left}`);
      assertEquals(entries.filter(({ kind }) => kind === "copy").length, 1);

      const resumed: Entry[] = entries.filter((entry) => "step" in entry && entry.step <= left);
      const more = await goOn(run, second, kept, resumed);
      assertEquals(more.map(outcome), Array(second).fill(alone));
      assertEquals(auditSamples(resumed, deriveRun(run.config)), []);
    });
  });
}

/**
 * Nodes train; one more enters, the coordinator is replaced in the middle of a step, and the first node leaves, whose run
 * is kept.
 *
 * @returns the step after which it has left, and what the others come to
 */
async function change(run: Run, nodes: number, path: string, entries: Entry[]) {
  await using group = await Group.start(nodes, HEARTBEAT_MS);
  const isUnderWay = Promise.withResolvers<void>();
  const hasCaughtUp = Promise.withResolvers<void>();
  const leave = new AbortController();
  const first = run.join(group, "m0", {
    path,
    signal: leave.signal,
    onProgress: ({ step }) => {
      if (step === ENTER - 1) isUnderWay.resolve();
      if (step === LEAVE) leave.abort();
    },
  }, entries);
  // The one that the others wait for is none that the newcomer copies from.
  let hasWaited = false;
  let current = 0;
  const last = run.join(group, `m${nodes - 1}`, {
    onAction: (action) => {
      if (action.kind === "begin") current = action.work.step;
    },
    beforeSums: async () => {
      if (current !== ENTER || hasWaited) return;
      hasWaited = true;
      await hasCaughtUp.promise;
      await group.restartCoordinator();
    },
  }, entries);
  const between = Array.from({ length: nodes - 2 }, (_, i) => run.join(group, `m${i + 1}`, {}, entries));
  await isUnderWay.promise;
  let begun = 0;
  const newcomer = run.join(group, "newcomer", {
    onAction: (action) => {
      if (action.kind === "send" && action.message.type === "caughtUp") hasCaughtUp.resolve();
      if (action.kind === "begin") begun++;
    },
  }, entries);
  const [{ steps: left, interrupted }, ...results] = await Promise.all([first, last, ...between, newcomer]);
  assert(interrupted);
  assert(begun > 0, "the newcomer had no part in a step");
  return { left, results };
}

/** Goes on with a kept run, of which each node has a copy. */
async function goOn(run: Run, nodes: number, kept: string, entries: Entry[]): Promise<TrainingResult[]> {
  await using group = await Group.start(nodes, HEARTBEAT_MS);
  const own: Entry[] = [];
  const results = await Promise.all(Array.from({ length: nodes }, async (_, i) => {
    const path = `${kept}-${i}`;
    await copyFolder(kept, path);
    return await run.join(group, `m${i}`, { path }, own);
  }));
  // These epochs come after those.
  const epochs = Math.max(
    ...entries.map((entry) => "epoch" in entry && entry.epoch !== null ? entry.epoch : 0),
  );
  entries.push(...own.map((entry) => (
    "epoch" in entry && entry.epoch !== null ? { ...entry, epoch: entry.epoch + epochs } : entry
  )));
  return results;
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for (const [path, bytes] of Object.entries(readTree(from))) {
    await Deno.mkdir(dirname(join(to, path)), { recursive: true });
    await Deno.writeFile(join(to, path), bytes);
  }
}
