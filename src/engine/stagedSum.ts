/** A micro-batch's forward and backward in stages: each stage's gradients leave for the host while the next one runs. */
import type { Live } from "../gpu/kernel.ts";
import type { Pace, Program, Runtime } from "../gpu/program.ts";
import { AHEAD_BYTES } from "../gpu/staging.ts";
import { BYTES_PER_ELEMENT, type EngineLimits } from "../gpu/tensor.ts";
import { type EnginePrograms, recordAddSome } from "./programs.ts";
import { cutStages, type SumStage, tensorsOf } from "./sumStages.ts";
import type { WaitingSums } from "./waitingSums.ts";

/** Bytes of the copies that are on their way to the host, at most. */
export function copiedBytes(sumLength: number): number {
  return Math.min(BYTES_PER_ELEMENT.f32 * sumLength, AHEAD_BYTES);
}

/** Where a staged sum goes. */
export interface StagedTarget {
  /** Whose sums are to be added, in this order. */
  readonly levels: readonly number[];
  readonly waiting: WaitingSums;
  /** Puts a hash of the weights behind the sums. */
  readonly hash: Program;
  /** (sumLength) */
  readonly into: Float32Array<ArrayBufferLike>;
  readonly onFinal: (from: number, to: number) => void;
}

interface Stage extends SumStage {
  readonly program: Program;
  /** By the place of a sum that waits: adds it to the running one, where the stage's values are. */
  readonly additions: readonly Program[];
}

export class StagedSum {
  readonly #runtime: Runtime;
  readonly #stages: readonly Stage[];

  private constructor(runtime: Runtime, stages: readonly Stage[]) {
    this.#runtime = runtime;
    this.#stages = stages;
  }

  /** @param training forward and backward, as `recorded.train` was placed @param parts see `cutStages` */
  static async open(
    runtime: Runtime,
    limits: EngineLimits,
    { tensors: { partials }, train }: EnginePrograms,
    { segments }: Program,
    parts: number,
  ): Promise<StagedSum> {
    if (train === null) throw new Error("This engine does not train");
    const [running, ...others] = partials.map(tensorsOf);
    const stages: Stage[] = [];
    for (const stage of cutStages(train, partials[0], parts)) {
      const some = (of: typeof running) => stage.fields.map(({ index }) => of[index]);
      const additions = others.map((other) => recordAddSome(limits, some(running), some(other)));
      stages.push({
        ...stage,
        program: { segments: segments.slice(stages.at(-1)?.to ?? 0, stage.to) },
        additions: additions.length === 0 ? [] : await runtime.load(additions),
      });
    }
    return new StagedSum(runtime, stages);
  }

  /** Resolves when all is there, rejects when nothing is written any more: with the signal's reason if that comes first. */
  async run(
    lives: readonly Live[],
    pace: Pace,
    target: StagedTarget,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    let reading: Promise<void> = Promise.resolve();
    const afterReading: Pace = {
      get portion() {
        return pace.portion;
      },
      queued: async (flops) => {
        await reading; // first: the pace may wait for all that is queued
        await pace.queued(flops);
      },
    };
    try {
      for (const stage of this.#stages) {
        await this.#runtime.runPaced(stage.program, lives, afterReading);
        for (const level of target.levels) {
          const place = target.waiting.onDevice?.(level);
          if (place !== undefined) this.#runtime.run(stage.additions[place]);
        }
        if (stage === this.#stages.at(-1)) this.#runtime.run(target.hash);
        // The stage before arrives while this one runs: its copy was waited for when it was asked for.
        await reading;
        signal?.throwIfAborted();
        reading = this.#read(stage, target);
        reading.catch(() => {}); // seen when it is awaited
      }
    } finally {
      await reading;
    }
  }

  async #read({ stretches, fields }: Stage, { levels, waiting, into, onFinal }: StagedTarget): Promise<void> {
    await this.#runtime.readAhead(
      fields.map(({ slice, from, to }) => ({ slice, into: into.subarray(from, to) })),
    );
    for (const { from, to } of stretches) {
      for (const level of levels) {
        const sum = waiting.onHost?.(level);
        if (sum !== undefined) { for (let i = from; i < to; i++) into[i] += sum[i]; }
      }
      onFinal(from, to);
    }
  }
}
