import { assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { trainTiny } from "../eval/support.ts";
import { withFolder } from "../train/tinyRun.ts";
import { FIXTURES } from "../verify/brokenCopies.ts";
import { runTaskWith } from "./verbs.ts";

/** A machine whose Vulkan loader finds no driver. */
const NO_DRIVER = {
  VK_DRIVER_FILES: "/nonexistent",
  VK_ICD_FILENAMES: "/nonexistent",
  DENO_WEBGPU_BACKEND: "vulkan",
};

Deno.test({
  name: "every verb says in one line what to do where there is no adapter",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withFolder(async (folder) => {
      const run = join(folder, "run");
      const text = join(folder, "text.txt");
      await trainTiny(run);
      await Deno.writeTextFile(text, "the cat sat on the mat, and the dog sat on the cat.\n".repeat(20));
      const settings = ["tokenizer=bytes", "model.seqLen=8", `data=${text}`, "--runs", join(folder, "runs")];
      const calls = [
        ["train", ...settings],
        ["train", "--dry-run", ...settings],
        ["generate", run, "--prompt", "the "],
        ["eval", run],
        ["verify"],
        ["verify", join(FIXTURES, "hf/gpt2")],
      ];
      for (const [verb, ...args] of calls) {
        const { code, stdout, stderr } = await runTaskWith(NO_DRIVER, verb, ...args);
        assertEquals([code, stdout], [1, ""], `${verb}: ${stderr}`);
        assertMatch(stderr, /^error: .*No GPU adapter found, .*sh setup\.sh.*\n$/); // one line: . is no line end
      }
    }),
});
