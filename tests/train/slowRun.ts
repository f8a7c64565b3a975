/** `slowRun.ts FOLDER`: the run that resume_test.ts kills. */
import { tinyConfig, tinyRun } from "./tinyRun.ts";

await tinyRun(Deno.args[0], tinyConfig("checkpoint.every=1 steps"), {
  onAccumulate: () => new Promise((resolve) => setTimeout(resolve, 30)),
});
