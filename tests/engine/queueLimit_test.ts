import { assert, assertEquals, assertGreater, assertLessOrEqual, assertStrictEquals } from "@std/assert";
import { QueueLimit } from "../../src/engine/queueLimit.ts";

function counted(seconds: number) {
  let waits = 0;
  const queue = new QueueLimit(() => (waits++, Promise.resolve()), seconds);
  return { queue, waits: () => waits };
}

Deno.test("QueueLimit ends at a wait once the signal has come, and at none before", async () => {
  const stop = new AbortController();
  let isFull = false;
  const queue = new QueueLimit(() => {
    if (isFull) setTimeout(() => stop.abort()); // as a message would come while the thread was blocked
    return Promise.resolve();
  }, 0);
  await queue.add(1000, stop.signal);
  isFull = true;
  assertStrictEquals(await queue.add(1000, stop.signal).catch((error) => error), stop.signal.reason);
  assert(stop.signal.aborted);
  await queue.add(1000); // what comes after is another step
});

Deno.test("QueueLimit gives out small portions first, then half of what may wait", async () => {
  const queue = new QueueLimit(() => new Promise((resolve) => setTimeout(resolve, 20)), 4);
  assertEquals(queue.portion, 1e9);
  await queue.add(1e6); // in 20 ms or more
  assertLessOrEqual(queue.portion, 1e6 / 0.019 * 2);
  assertGreater(queue.portion, 0);
});

Deno.test("QueueLimit waits for the first work, whose rate it measures, and then for too much", async () => {
  const patient = counted(1e9);
  for (let i = 0; i < 5; i++) await patient.queue.add(1000);
  assertEquals(patient.waits(), 1);

  const strict = counted(0);
  for (let i = 0; i < 5; i++) await strict.queue.add(1000);
  assertEquals(strict.waits(), 5);
});
