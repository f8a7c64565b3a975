import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { parseDuration } from "../../tasks/_duration.ts";

Deno.test("parseDuration() takes times as people write them", () => {
  const cases = [["500ms", 500], ["30s", 30_000], ["1.5 s", 1500], ["5min", 300_000], ["24h", 86_400_000], [
    "0s",
    0,
  ]];
  for (const [text, ms] of cases) assertEquals(parseDuration("--wait", `${text}`, 0), ms);
});

Deno.test("parseDuration() refuses what is no time, and what is out of range", () => {
  for (const text of ["", "30", "s", "-1s", "1e3s", "2 days", "25h", "9ms"]) {
    const expected = `--wait is "${text}", expected 10ms to 24h`;
    assertThrows(() => parseDuration("--wait", text, 10), UserError, expected);
  }
});
