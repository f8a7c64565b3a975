import { assertEquals } from "@std/assert";
import { auditSamples, countRedone, type Entry, recoveryTime, stepTimes } from "../../src/chaos/ledger.ts";

/** Two steps of three samples each. */
const PLAN = { totalSteps: 2, batchAt: (step: number) => ({ firstSample: 3 * (step - 1), batchSize: 3 }) };

let at = 0;
const begin = (epoch: number, step: number): Entry => ({ kind: "begin", at: ++at, epoch, step });
const ready = (epoch: number, step: number, ...samples: number[]): Entry => {
  return { kind: "ready", at: ++at, epoch, step, samples };
};
const apply = (epoch: number | null, step: number): Entry => ({ kind: "apply", at: ++at, epoch, step });

const GOOD = [
  ready(1, 1, 2),
  ready(1, 1, 0, 1),
  apply(1, 1),
  ready(2, 2, 5, 4, 3),
  apply(2, 2),
  apply(null, 2),
];

Deno.test("auditSamples() finds samples that were lost, read twice or of another step, and steps that nobody did", () => {
  assertEquals(auditSamples(GOOD, PLAN), []);
  // An attempt that came to nothing doesn't count, a second one that was committed does.
  assertEquals(auditSamples([...GOOD, ready(3, 2, 3)], PLAN), []);
  assertEquals(auditSamples([...GOOD, ready(3, 2, 3), apply(3, 2)], PLAN), [
    "Step 2 in epoch 3 has the samples 3, expected 3,4,5",
  ]);
  assertEquals(auditSamples([...GOOD, ready(1, 1, 1)], PLAN), [
    "Step 1 in epoch 1 has the samples 0,1,1,2, expected 0,1,2",
  ]);
  assertEquals(auditSamples([...GOOD, ready(1, 1, 2)], PLAN), [
    "Step 1 in epoch 1 has the samples 0,1,2,2, expected 0,1,2",
  ]);
  assertEquals(auditSamples(GOOD.slice(0, 3), PLAN), ["Step 2 was committed in no epoch"]);
  assertEquals(auditSamples([...GOOD.slice(0, 3), apply(null, 2)], PLAN).length, 1);
});

Deno.test("countRedone() counts each time that a step was begun again, once for all members", () => {
  assertEquals(
    countRedone([begin(1, 1), begin(1, 1), begin(1, 2), begin(2, 2), begin(2, 2), begin(3, 2)]),
    2,
  );
});

Deno.test("stepTimes() are those between commits of one epoch", () => {
  const timed = (at: number, epoch: number | null, step: number): Entry => ({
    kind: "apply",
    at,
    epoch,
    step,
  });
  assertEquals(
    stepTimes([timed(0, 1, 1), timed(9, 1, 2), timed(90, 2, 3), timed(97, 2, 4), timed(99, null, 5)]),
    [9, 7],
  );
});

Deno.test("recoveryTime() is that until a step is committed which was begun after the moment", () => {
  const entries: Entry[] = [
    { kind: "begin", at: 1, epoch: 1, step: 4 },
    { kind: "apply", at: 6, epoch: 1, step: 4 },
    { kind: "begin", at: 7, epoch: 2, step: 5 },
    { kind: "apply", at: 11, epoch: 2, step: 5 },
  ];
  assertEquals(recoveryTime(entries, 5, Infinity), 6);
  assertEquals(recoveryTime(entries, 5, 10), null);
  assertEquals(recoveryTime(entries, 8, Infinity), null);
});
