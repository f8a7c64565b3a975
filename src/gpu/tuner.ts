/**
 * Chooses between variants of a kernel by measuring them on the adapter.
 *
 * All variants of a kernel compute the same bits; the tuner holds them to it: one whose output differs from the first
 * candidate's in a single bit is out on this adapter. So tuning changes speed and nothing else.
 */
import type { Choices } from "./choices.ts";
import type { Gpu } from "./device.ts";
import { place } from "./place.ts";
import { type Program, Runtime } from "./program.ts";
import { Recorder } from "./recorder.ts";
import { breathe, type Watch } from "./signal.ts";
import { Arena, type Tensor } from "./tensor.ts";

/** A variant that can be measured. */
export interface Candidate {
  /** What is kept in the cache. */
  readonly name: string;
  /** Records the work with this variant; the last tensor is the result. */
  record(recorder: Recorder, tensors: readonly Tensor[]): void;
}

/** Candidates for a class of shapes, and what to measure them on. */
export interface Question {
  /** Shapes of the tensors, the result last. */
  readonly shapes: readonly (readonly number[])[];
  /** The first one is the reference. */
  readonly candidates: readonly Candidate[];
}

/** A measured candidate. */
export interface Measurement {
  readonly name: string;
  /** Milliseconds of one run (Infinity with 0 rounds); null: its output differs from the reference, or the adapter refused it. */
  readonly milliseconds: number | null;
}

/** Milliseconds that a candidate is measured for, at least. */
const MEASURE_MS = 30;
const ROUNDS = 3;

/**
 * Measures the candidates of a question, the reference first.
 *
 * @param rounds how often each is timed; the best time counts, and with 0 rounds none is
 * @throws what the adapter refuses of the reference: without it there is nothing to compare with; the signal's reason
 */
export async function measure(
  gpu: Gpu,
  { shapes, candidates }: Question,
  rounds = ROUNDS,
  signal?: AbortSignal,
): Promise<Measurement[]> {
  let reference: Uint32Array | null = null;
  const results: Measurement[] = [];
  for (const candidate of candidates) {
    await breathe(signal);
    const runtime = new Runtime(gpu);
    let milliseconds: number | null = null; // of a variant that this adapter refuses, too
    try {
      const { program, output } = await runOnce(gpu, runtime, candidate, shapes);
      reference ??= output;
      const isSame = output.every((bits, i) => bits === reference![i]);
      if (isSame) milliseconds = await time(runtime, program, rounds);
    } catch (error) {
      if (reference === null) throw error;
    } finally {
      runtime.close();
    }
    results.push({ name: candidate.name, milliseconds });
  }
  return results;
}

/** A candidate's program, and the bits that it makes of fixed numbers. */
async function runOnce(gpu: Gpu, runtime: Runtime, candidate: Candidate, shapes: Question["shapes"]) {
  const arenas = shapes.map((shape, i) => {
    const arena = new Arena(`tuning ${i}`, gpu.limits.maxBuffer);
    arena.add(`operand ${i}`, shape);
    return arena;
  });
  const tensors = arenas.map(({ tensors: [tensor] }) => tensor);
  const recorder = new Recorder({ ...gpu.limits, choices: undefined });
  candidate.record(recorder, tensors);
  await runtime.allocate(...arenas);
  const [program] = await runtime.load([place(recorder)]);
  for (const [i, tensor] of tensors.entries()) runtime.write(tensor.whole(), noise(tensor.size, i));
  runtime.run(program);
  const output = await runtime.read(tensors.at(-1)!.whole());
  return { program, output: new Uint32Array(output.buffer) };
}

/** Milliseconds of one run: the best of several rounds, each long enough to be measured. */
async function time(runtime: Runtime, program: Program, rounds: number): Promise<number> {
  let best = Infinity;
  let repeat = 1;
  for (let round = 0; round < rounds;) {
    const begin = performance.now();
    for (let i = 0; i < repeat; i++) runtime.run(program);
    await runtime.idle();
    const elapsed = performance.now() - begin;
    if (elapsed < MEASURE_MS && repeat < 4096) {
      repeat *= Math.min(16, Math.max(2, Math.ceil(MEASURE_MS / elapsed)));
      continue;
    }
    best = Math.min(best, elapsed / repeat);
    round++;
  }
  return best;
}

/**
 * Answers all open questions.
 *
 * @param questionOf what to measure for a question's name
 * @throws the signal's reason; what was answered until then stays answered
 */
export async function tune(
  gpu: Gpu,
  choices: Choices,
  questionOf: (name: string) => Question,
  { onProgress, signal }: Watch = {},
): Promise<void> {
  const open = choices.open;
  for (const [i, name] of open.entries()) {
    const measured = await measure(gpu, questionOf(name), ROUNDS, signal);
    const best = measured.reduce((a, b) =>
      (b.milliseconds ?? Infinity) < (a.milliseconds ?? Infinity) ? b : a
    );
    choices.answer(name, best.name);
    onProgress?.(i + 1, open.length);
  }
}

/** Fixed numbers in [-1, 1) without a pattern (a multiplicative hash of the index). */
function noise(count: number, salt: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: count },
    (_, i) => (Math.imul(i + 1, 0x9e3779b1 + 2 * salt) >>> 8) / 2 ** 23 - 1,
  );
}
