import { assertEquals } from "@std/assert";
import { QueueLimit } from "../../src/engine/queueLimit.ts";

function counted(seconds: number) {
  let waits = 0;
  const queue = new QueueLimit(() => (waits++, Promise.resolve()), seconds);
  return { queue, waits: () => waits };
}

Deno.test("QueueLimit waits for the first work, whose rate it measures, and then for too much", async () => {
  const patient = counted(1e9);
  for (let i = 0; i < 5; i++) await patient.queue.add(1000);
  assertEquals(patient.waits(), 1);

  const strict = counted(0);
  for (let i = 0; i < 5; i++) await strict.queue.add(1000);
  assertEquals(strict.waits(), 5);
});
