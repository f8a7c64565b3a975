import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runChaos } from "../../src/chaos/run.ts";
import { runTask } from "./verbs.ts";

Deno.test({
  name:
    "runChaos(): groups whose nodes and coordinators are killed, frozen and cut off end as if nothing had been",
  ignore: Deno.build.os === "windows",
  async fn() {
    const lines: string[] = [];
    const summary = await runChaos({
      ...{ kills: 4, seed: 5, steps: 60, pauseMs: 400 },
      say: (line) => lines.push(line),
    });
    assertEquals(summary.lost, [], lines.join("\n"));
    assert(summary.kills.members + summary.kills.coordinators >= 4);
    assertEquals(summary.steps, 60 * summary.runs);
    assert(summary.redone > 0 && summary.stepMs > 0);
  },
});

Deno.test("chaos: mistakes are one line each, with exit code 1", async () => {
  for (
    const [args, expected] of [[["200"], "Found 200"], [
      ["--kills", "0"],
      "--kills is 0, expected a whole number from 1",
    ]] as const
  ) {
    const { code, stdout, stderr } = await runTask("chaos", ...args);
    assertEquals([code, stdout, stderr.split("\n").length], [1, "", 2], stderr);
    assertStringIncludes(stderr, expected);
  }
});
