/**
 * Programs that not every run wants, recorded and allocated when they are first asked for: all of them, or nothing.
 */
import type { Live } from "../gpu/kernel.ts";
import type { Placement } from "../gpu/place.ts";
import type { Program, Runtime } from "../gpu/program.ts";
import type { Arena, EngineLimits, Tensor } from "../gpu/tensor.ts";
import type { StackInputs } from "../model/context.ts";
import { type DefaultSpan, type Rows, writeRows } from "./batchInputs.ts";
import type { EngineTensors } from "./layout.ts";
import { type NextProgram, recordLogits, recordNext } from "./programs.ts";
import { advised } from "./record.ts";
import type { EngineSpec } from "./spec.ts";

/** What these programs are made for, and what they share with the engine. */
export interface InferenceContext {
  readonly runtime: Runtime;
  readonly limits: EngineLimits;
  readonly spec: EngineSpec;
  readonly tensors: EngineTensors;
}

async function open(
  runtime: Runtime,
  arenas: readonly Arena[],
  placements: readonly Placement[],
): Promise<Program[]> {
  await runtime.allocate(...arenas);
  try {
    return await runtime.load(placements);
  } catch (error) {
    runtime.free(...arenas);
    throw error;
  }
}

/** Logits of a whole micro-batch. */
export class LogitsReader {
  readonly #runtime: Runtime;
  readonly #program: Program;
  readonly #logits: Tensor; // (B*T, V)

  private constructor(runtime: Runtime, program: Program, logits: Tensor) {
    this.#runtime = runtime;
    this.#program = program;
    this.#logits = logits;
  }

  /** @throws UserError if the logits don't fit the adapter */
  static async open({ runtime, limits, spec, tensors }: InferenceContext): Promise<LogitsReader> {
    const { placement, arena, logits } = advised(
      "lower train.microBatchSize or model.seqLen",
      () => recordLogits(spec, limits, tensors),
    );
    const [program] = await open(runtime, [arena], [placement]);
    return new LogitsReader(runtime, program, logits);
  }

  /** (rows in use, V) of the batch that was written. */
  async read(lives: readonly Live[]): Promise<Float32Array<ArrayBuffer>> {
    this.#runtime.run(this.#program, ...lives);
    return await this.#runtime.read(this.#logits.rows(0, lives[0].rows ?? 0));
  }
}

/** Logits after the next tokens of one row, with a cache of keys and values of those before. */
export class NextReader {
  readonly #runtime: Runtime;
  readonly #recorded: NextProgram;
  /** In the order of the placements. */
  readonly #programs: readonly Program[];
  readonly #spec: EngineSpec;
  /** Columns of the source that was read last. */
  #sourceColumns = 0;

  private constructor(
    runtime: Runtime,
    recorded: NextProgram,
    programs: readonly Program[],
    spec: EngineSpec,
  ) {
    this.#runtime = runtime;
    this.#recorded = recorded;
    this.#programs = programs;
    this.#spec = spec;
  }

  /** @throws UserError if the cache doesn't fit the adapter */
  static async open({ runtime, limits, spec, tensors }: InferenceContext): Promise<NextReader> {
    const recorded = advised(
      "lower model.seqLen",
      () => recordNext(spec, limits, tensors),
    );
    return new NextReader(runtime, recorded, await open(runtime, recorded.arenas, recorded.placements), spec);
  }

  /** Gives the encoder what it reads, for all that follows. */
  readSource(tokens: Int32Array): void {
    const { encoder } = this.#recorded;
    if (encoder === null) throw new Error("This model has no encoder");
    const S = tokens.length;
    if (S === 0 || S > encoder.columns) throw new Error(`${S} tokens are outside 1 to ${encoder.columns}`);
    const live = this.#write(encoder, { rows: 1, columns: S, inputs: tokens }, () => [0, S]);
    this.#runtime.run(this.#programs[2], {}, live);
    this.#sourceColumns = S;
  }

  /** (V) of the token after `tokens`, which stand at positions `start` on. */
  async read(tokens: Int32Array, start: number): Promise<Float32Array<ArrayBuffer>> {
    const { columns: most, model } = this.#spec;
    if (tokens.length === 0 || start + tokens.length > most) {
      throw new Error(`Positions ${start} to ${start + tokens.length} are outside 1 to ${most}`);
    }
    const { decoder, encoder, crossSpans, prefill, logits } = this.#recorded;
    if (encoder !== null && this.#sourceColumns === 0) throw new Error("The encoder has read nothing yet");
    const source = this.#sourceColumns;
    // What comes first is the prefix of a model that has one.
    const seesAll = model.architecture === "nonCausalDecoder" && start === 0;
    const [many, one] = this.#programs;
    for (let from = 0; from < tokens.length; from += prefill) {
      const inputs = tokens.subarray(from, from + prefill);
      const columns = inputs.length;
      const first = start + from;
      const places = Uint32Array.from(inputs, (_, column) => first + column);
      const live = this.#write(decoder, { rows: 1, columns, inputs, places }, (_row, column) => {
        return [0, seesAll ? columns : first + column + 1];
      });
      if (crossSpans !== null) {
        const spans = Uint32Array.from({ length: 2 * columns }, (_, i) => i % 2 * source);
        this.#runtime.write(crossSpans.rows(0, columns), spans);
      }
      this.#runtime.run(columns === 1 ? one : many, { ...live, start: first, last: columns - 1, source });
    }
    return await this.#runtime.read(logits.whole());
  }

  #write(stack: StackInputs, rows: Rows, seen: DefaultSpan): Live {
    return writeRows(this.#runtime, stack, rows, seen, this.#spec.model, false);
  }
}
