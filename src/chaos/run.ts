/**
 * The chaos test: groups of processes train a tiny model while members and the coordinator are killed, frozen and sent
 * away, and links are cut, delayed and throttled. Each run has to end with the digest of one process that nobody
 * disturbed, and to have read just the samples of the plan.
 *
 * The seed decides what happens, to whom and at which byte. When, as measured in steps, is up to the machine.
 */
import { train } from "../api/train.ts";
import { deriveRun, type RunSpec } from "../config/derive.ts";
import { resolveConfig } from "../config/load.ts";
import { newNonce } from "../net/link/auth.ts";
import { drawer, Stream } from "../random.ts";
import { drawFault, type Fault } from "./faults.ts";
import { ChaosGroup } from "./group.ts";
import { auditSamples, countRedone, type Entry, recoveryTime, stepTimes } from "./ledger.ts";
import { MEMBER_EXIT } from "./member.ts";
import { sleep } from "./proxy.ts";

export interface ChaosOptions {
  /** Processes to kill, members and coordinators; runs are begun until so many were. */
  readonly kills: number;
  readonly seed: number;
  /** Of each run. */
  readonly steps: number;
  /** Between two faults, on average. */
  readonly pauseMs: number;
  /** Takes a line for people. */
  readonly say: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** What was done, and what came of it. */
export interface ChaosSummary {
  readonly runs: number;
  /** How often each fault was inflicted. */
  readonly faults: Readonly<Record<Fault["kind"], number>>;
  /** Processes that were killed. */
  readonly kills: { readonly members: number; readonly coordinators: number };
  /** Committed, of all runs. */
  readonly steps: number;
  /** Times that a step was begun again. */
  readonly redone: number;
  /** Times that a member took another one's state over. */
  readonly copies: number;
  /** From one step to the next with nothing in between; the median, of all members. */
  readonly stepMs: number;
  /**
   * From kill -9 of a member at work, with nothing else in the way, until a step was committed that was begun after it.
   */
  readonly recoveryMs: { readonly count: number; readonly median: number; readonly p90: number };
  /** What is not as it should be; nothing: all is well. */
  readonly lost: readonly string[];
}

const MOST_NODES = 5;
const HEARTBEAT_MS = 300;
/** A group that does no step for so long won't. */
const STUCK_MS = 90_000;
/** Who is still busy with the end of the run may take so long. */
const LAST_MS = 20_000;
const POLL_MS = 20;
/** One fault in so many is a kill before and after which nothing else happens for a while. */
const CALM_EVERY = 7;
const CALM_MS = 2500;

/** What models learn: each run takes another one. */
const KINDS = [
  ["causalDecoder", "causal"],
  ["encoderDecoder", "span"],
  ["nonCausalDecoder", "prefix"],
  ["causalDecoder", "span"],
  ["encoderDecoder", "prefix"],
  ["nonCausalDecoder", "span"],
  ["causalDecoder", "prefix"],
  ["encoderDecoder", "causal"],
] as const;

/** Everything on whose bits could depend on who computes what, and more virtual workers than nodes. */
function settingsOf([architecture, objective]: typeof KINDS[number], steps: number, data: string): string[] {
  return [
    "name=chaos",
    `data=${data}`,
    "tokenizer=bytes",
    `model.architecture=${architecture}`,
    `objective.kind=${objective}`,
    "model.numLayers=1",
    "model.modelDim=12",
    "model.numHeads=3",
    "model.seqLen=10",
    "model.dropout=0.1",
    "model.attentionDropout=0.1",
    "train.batchSize=14",
    "train.microBatchSize=2",
    'train.rampUp={"start":6,"increment":2,"samples":200}',
    `train.duration=${steps} steps`,
    "scale.virtualWorkers=7",
    "validation.every=null",
    "checkpoint.every=25 steps",
    "log.every=10",
    "log.sampleEvery=null",
    "log.tensorboard=false",
    "engine.tune=false",
  ];
}

/** What a run has come to. */
interface Round {
  readonly entries: readonly Entry[];
  readonly recoveries: readonly number[];
  readonly steps: number;
  readonly lost: readonly string[];
}

/**
 * Runs groups through faults until so many processes were killed, and compares what they come to.
 *
 * @throws the signal's reason
 *
 * @example
 * ```ts
 * const { lost } = await runChaos({ kills: 20, seed: 7, steps: 300, pauseMs: 600, say: console.log });
 * ```
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosSummary> {
  const { kills, seed, steps, say, signal } = options;
  const folder = await Deno.makeTempDir({ prefix: "bloomery-chaos-" });
  try {
    const data = `${folder}/text.txt`;
    await Deno.writeTextFile(
      data,
      "the quick brown fox jumps over the lazy dog, and the dog sleeps on. ".repeat(40),
    );
    const digests = new Map<typeof KINDS[number], string>();
    const tally = new Tally();
    const rounds: Round[] = [];
    while (tally.kills < kills && !rounds.some(({ lost }) => lost.length > 0)) {
      signal?.throwIfAborted();
      const kind = KINDS[rounds.length % KINDS.length];
      const settings = settingsOf(kind, steps, data);
      const plan = deriveRun(resolveConfig({ overrides: settings }));
      const digest = digests.get(kind) ?? (await train({ overrides: settings }, { signal })).digest;
      digests.set(kind, digest);
      const draw = drawer(seed, Stream.test, rounds.length);
      const nodes = 2 + draw(MOST_NODES - 1);
      const group = {
        settings,
        nodes,
        folder: `${folder}/${rounds.length}`,
        secret: newNonce(),
        heartbeatMs: HEARTBEAT_MS,
      };
      const before = tally.kills;
      const round = await runRound(group, { ...options, draw, tally, plan, digest });
      rounds.push(round);
      say(
        `Run ${rounds.length} of ${nodes} nodes (${kind.join(", ")}), ${tally.kills - before} kills: ` +
          (round.lost.length === 0 ? "same digest, samples as planned" : round.lost.join("\n")),
      );
      await Deno.remove(group.folder, { recursive: true });
    }
    return summarize(tally, rounds);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What was inflicted, all runs together. */
class Tally {
  readonly faults: Record<Fault["kind"], number> = {
    ...{ kill: 0, killAll: 0, killCoordinator: 0, freeze: 0, freezeCoordinator: 0 },
    ...{ leave: 0, cut: 0, stall: 0, delay: 0, throttle: 0 },
  };
  members = 0;
  coordinators = 0;

  get kills(): number {
    return this.members + this.coordinators;
  }
}

interface RoundOptions extends ChaosOptions {
  readonly draw: (below: number) => number;
  readonly tally: Tally;
  readonly plan: RunSpec;
  readonly digest: string;
}

/** A fault and when it was under way; times as the members' entries have them. */
interface Inflicted {
  readonly fault: Fault;
  readonly from: number;
  to: number;
}

async function runRound(
  options: ConstructorParameters<typeof ChaosGroup>[0],
  { draw, tally, plan, digest, kills, pauseMs, signal }: RoundOptions,
): Promise<Round> {
  const { nodes, heartbeatMs } = options;
  await using group = new ChaosGroup(options);
  const { ends, finished } = watchEnds(group);
  const inflicted: Inflicted[] = [];
  const inflict = async (fault: Fault) => {
    const entry: Inflicted = { fault, from: now(), to: Infinity };
    inflicted.push(entry);
    tally.faults[fault.kind]++;
    const killed = await group.inflict(fault);
    entry.to = now();
    if (fault.kind === "killCoordinator") tally.coordinators += killed;
    else tally.members += killed;
  };
  let lastStep = { step: -1, at: performance.now() };
  let next = Infinity;
  /** The next fault is a kill with nothing else in the way, so that its recovery can be measured. */
  let isCalm = false;
  let isStuck = false;
  while (!finished() && !isStuck) {
    signal?.throwIfAborted();
    const time = performance.now();
    const { step } = group;
    if (step !== lastStep.step) lastStep = { step, at: time };
    isStuck = time - lastStep.at > STUCK_MS;
    if (next === Infinity && step > 0) next = time + draw(2 * pauseMs);
    if (time >= next && tally.kills < kills) {
      inflict(isCalm ? { kind: "kill", node: draw(nodes), bytes: 0 } : drawFault(draw, nodes, heartbeatMs));
      const wasCalm: boolean = isCalm;
      isCalm = !wasCalm && draw(CALM_EVERY) === 0;
      next = time + (isCalm || wasCalm ? CALM_MS : 0) + draw(2 * pauseMs);
    }
    await sleep(POLL_MS);
  }
  await Promise.race([
    Promise.all(group.nodes.map(({ process }) => process.ended)),
    sleep(isStuck ? 0 : LAST_MS),
  ]);
  const entries = group.entries();
  const lost = [...ends, ...auditSamples(entries, { ...plan, totalSteps: group.step })];
  if (isStuck) lost.unshift(describeStuck(group));
  const digests = new Set(entries.flatMap((entry) => (entry.kind === "end" ? [entry.digest] : [])));
  if ([...digests].join() !== digest) {
    lost.push(`The run ended with ${[...digests].join(" and ") || "no digest"}, expected ${digest}`);
  }
  // Who was away at the end does the rest alone: that is audited, but not counted.
  const end = Math.min(...entries.map(({ kind, at }) => (kind === "end" ? at : Infinity)));
  const counted = entries.filter(({ at }) => at <= end);
  return { entries: counted, recoveries: recoveriesOf(group, inflicted), steps: group.step, lost };
}

/** Which nodes ended in a way that they should not, as lines, and whether the run is over. */
function watchEnds(group: ChaosGroup): { ends: string[]; finished: () => boolean } {
  const ends: string[] = [];
  let isFinished = false;
  for (const { process, entries } of group.nodes) {
    process.ended.then((code) => {
      if (code === MEMBER_EXIT.over) return; // whoever has finished ends, too, or is started again
      const hasFinished = entries.at(-1)?.kind === "end";
      if (code !== null && !hasFinished) {
        ends.push(`${process.name} ended with exit code ${code}: ${process.said.join(" | ")}`);
      }
      if (code !== null) isFinished = true;
    });
  }
  return { ends, finished: () => isFinished };
}

function describeStuck(group: ChaosGroup): string {
  const said = group.nodes.map(({ process }) => `${process.name}: ${process.said.slice(-6).join(" | ")}`);
  const log = group.log.slice(-12).join(" | ");
  return `No step in ${STUCK_MS / 1000} s after step ${group.step}; coordinator: ${log}; ${said.join("; ")}`;
}

/** The recovery times of kills that met a member at work, with no other fault until then. */
function recoveriesOf(group: ChaosGroup, inflicted: readonly Inflicted[]): number[] {
  const entries = group.entries();
  return inflicted.flatMap((each, i) => {
    const { fault, to } = each;
    if (fault.kind !== "kill" || to === Infinity) return [];
    const isAlone = inflicted.every((other) => other === each || other.to < each.from || other.from > to);
    const last = group.nodes[fault.node].entries.findLast(({ at }) => at <= to);
    const isAtWork = last !== undefined && "epoch" in last && last.epoch !== null;
    if (!isAlone || !isAtWork) return [];
    const time = recoveryTime(entries, to, inflicted[i + 1]?.from ?? Infinity);
    return time === null ? [] : [time];
  });
}

function summarize({ faults, members, coordinators }: Tally, rounds: readonly Round[]): ChaosSummary {
  const entries = rounds.flatMap((round) => round.entries);
  const recoveries = rounds.flatMap((round) => round.recoveries);
  return {
    runs: rounds.length,
    faults,
    kills: { members, coordinators },
    steps: rounds.reduce((sum, { steps }) => sum + steps, 0),
    redone: rounds.reduce((sum, round) => sum + countRedone(round.entries), 0),
    copies: entries.filter(({ kind }) => kind === "copy").length,
    stepMs: quantile(rounds.flatMap((round) => stepTimes(round.entries)), 0.5),
    recoveryMs: {
      count: recoveries.length,
      median: quantile(recoveries, 0.5),
      p90: quantile(recoveries, 0.9),
    },
    lost: rounds.flatMap(({ lost }) => lost),
  };
}

/** NaN of nothing. */
function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(part * sorted.length), sorted.length - 1)] ?? NaN;
}

function now(): number {
  return performance.timeOrigin + performance.now();
}
