import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import type { Fuzzed } from "./fuzz.ts";

const SCRIPT = new URL("./fuzz.ts", import.meta.url).pathname;
/** Without what lets go of a closed link, whose buffer is 1 MiB, a third of the attacks makes 30 to 50 MiB; with it, all: -20 to 30. */
const MOST_GROWTH = 60 << 20;

Deno.test("a group trains on under random and mutated requests, handshakes, frames and messages, in flat memory", async () => {
  const [seed, rounds] = [7, 1200];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", "--v8-flags=--expose-gc", SCRIPT, `${seed}`, `${rounds}`],
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const fuzzed: Fuzzed = JSON.parse(new TextDecoder().decode(stdout));
  const told = JSON.stringify(fuzzed);
  assertEquals([fuzzed.isRight, fuzzed.isLeaked, fuzzed.attacks], [true, false, rounds], told);
  for (const kind of ["http", "handshake", "frames", "words", "messages"]) {
    const ends = Object.entries(fuzzed.ends).filter(([end]) => end.startsWith(kind));
    assertEquals(ends.reduce((sum, [, count]) => sum + count, 0), rounds / 5, told);
  }
  // nobody got further than to an open link on which nothing was taken
  assert((fuzzed.ends["words fault"] ?? 0) > 0 && (fuzzed.ends["messages fault"] ?? 0) > 0, told);
  assertGreaterOrEqual(fuzzed.tampered, 5, told);
  assertGreaterOrEqual(fuzzed.steps, 20, told);
  assertGreaterOrEqual(fuzzed.bytes, 1 << 22, told);
  assertLess(fuzzed.after - fuzzed.before, MOST_GROWTH, told);
});
