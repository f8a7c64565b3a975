import { assertEquals } from "@std/assert";
import { SteadyLog } from "../../src/net/control/steadyLog.ts";

Deno.test("SteadyLog says a link's first losses at once and then, once a minute, how it is and how often it was lost", () => {
  const lines: string[] = [];
  const steady = new SteadyLog((level, text) => lines.push(`${level}: ${text}`));
  const said = () => lines.splice(0);
  const lost = (step: number) => `a is lost; step ${step} is begun again`;
  const flap = (step: number, now: number) => {
    steady.say("warn", lost(step), now);
    steady.say("news", `Step ${step} begins with 2 nodes, after ${step / 8} s`, now + 1);
  };
  for (const step of [1, 2, 3]) flap(step, 1000 * step);
  assertEquals(said().length, 6);
  for (const step of [4, 5, 6]) flap(step, 1000 * step);
  steady.say("warn", "b is lost; step 6 is begun again", 6500); // another member is other news
  assertEquals(said(), ["warn: b is lost; step 6 is begun again"]);
  steady.say("warn", lost(7), 7000);
  steady.tick(60_999);
  assertEquals(said(), []);
  steady.tick(61_000);
  const ofMany = (count: number) => ` (the last of ${count} such lines within a minute)`;
  assertEquals(said(), [
    `news: Step 6 begins with 2 nodes, after 0.75 s${ofMany(3)}`,
    `warn: ${lost(7)}${ofMany(4)}`,
  ]);
  steady.say("warn", lost(8), 62_000); // it still comes and goes
  assertEquals(said(), []);
  steady.flush();
  assertEquals(said(), [`warn: ${lost(8)}`]);
  flap(9, 200_000); // after a long time it is news again
  assertEquals(said().length, 2);
});
