import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { ErrorFeedback, feedbackBytes } from "../../src/train/errorFeedback.ts";
import { countArrays } from "../_arrays.ts";
import { EXACT_VALUES } from "../../src/train/bf16.ts";

const LENGTH = 50;
const ROUNDED = LENGTH - EXACT_VALUES;

/** What a step would send without rounding. */
const piece = (step: number) => Float32Array.from({ length: LENGTH }, (_, i) => Math.sin(1 + i + 100 * step));

Deno.test("ErrorFeedback loses nothing: what was sent and what is left make the whole", () => {
  const feedback = new ErrorFeedback(LENGTH);
  const wanted = new Float64Array(LENGTH);
  const sent = new Float64Array(LENGTH);
  for (let step = 0; step < 40; step++) {
    feedback.begin();
    for (const part of [piece(2 * step), piece(2 * step + 1)]) {
      part.forEach((x, i) => wanted[i] += x);
      feedback.round(part);
      part.forEach((x, i) => sent[i] += x);
      const words = new Uint32Array(part.buffer, 0, ROUNDED);
      assert(words.every((word) => (word & 0xffff) === 0), "a value is not a bfloat16");
    }
    feedback.commit();
  }
  assertEquals(sent.slice(ROUNDED), wanted.slice(ROUNDED), "the exact values");
  for (let i = 0; i < ROUNDED; i++) assertAlmostEquals(sent[i] + feedback.residual[i], wanted[i], 1e-5);
  assert(feedback.residual.some((x) => x !== 0));
});

Deno.test("ErrorFeedback.begin() begins a step anew, and discard() keeps what was left before", () => {
  const feedback = new ErrorFeedback(LENGTH);
  feedback.begin();
  feedback.round(piece(0));
  feedback.commit();
  const before = feedback.residual.slice();
  const rounded = [0, 1].map(() => {
    const part = piece(1);
    feedback.begin(); // the second time after a step that was given up
    feedback.round(part);
    return part;
  });
  assertEquals(rounded[0], rounded[1]);
  assertEquals(feedback.residual, before);

  feedback.begin();
  feedback.round(piece(2));
  feedback.discard();
  feedback.commit(); // of nothing
  assertEquals(feedback.residual, before);
  assertThrows(() => feedback.round(piece(3)), Error, "before a step has begun");
});

Deno.test("ErrorFeedback.reset() takes what was kept, or nothing", () => {
  const feedback = new ErrorFeedback(LENGTH);
  const kept = piece(0).slice(EXACT_VALUES);
  feedback.reset(kept);
  assertEquals(feedback.residual, kept);
  feedback.reset();
  assertEquals(feedback.residual, new Float32Array(ROUNDED));
  assertThrows(() => feedback.reset(new Float32Array(3)), Error, "residual of 3 values, expected 46");
});

Deno.test("ErrorFeedback takes the memory that it says, however many steps there are", async () => {
  const made = await countArrays(ROUNDED, () => {
    const feedback = new ErrorFeedback(LENGTH);
    for (let step = 0; step < 5; step++) {
      feedback.begin();
      feedback.round(piece(step));
      if (step % 2 === 0) feedback.commit();
      else feedback.discard();
    }
  });
  assertEquals(made * 4 * ROUNDED, feedbackBytes(LENGTH));
});
