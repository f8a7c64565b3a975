import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { stepFolder, trainTiny } from "../eval/support.ts";
import { withFolder } from "../train/tinyRun.ts";
import { runTask, taskCommand } from "./verbs.ts";

Deno.test("generate streams text after the prompt, the same for the same seed", async () => {
  await withFolder(async (run) => {
    await trainTiny(run);
    const options = ["--max-tokens", "12", "--temperature", "0.9", "--top-k", "9", "--top-p", "0.95"];
    const first = await runTask("generate", run, "--prompt", "the ", ...options);
    assertEquals([first.code, first.stderr], [0, ""]);
    assert(first.stdout.startsWith("the ") && first.stdout.endsWith("\n"), first.stdout);
    assertEquals(first.stdout.length, "the ".length + 12 + 1);

    const file = join(run, "prompt.txt");
    await Deno.writeTextFile(file, "the ");
    const again = await runTask("generate", stepFolder(run, 3), "--prompt-file", file, ...options, "--json");
    assertEquals(again.stderr, first.stdout);
    const record = JSON.parse(again.stdout);
    assertEquals(record, { model: stepFolder(run, 3), prompt: "the ", text: first.stdout.slice(4, -1) });

    const stop = record.text.slice(5, 8);
    const stopped = await runTask(
      "generate",
      run,
      "--prompt",
      "the ",
      ...options,
      "--stop",
      "ZZ",
      "--stop",
      stop,
    );
    assertEquals(stopped.stdout, `the ${record.text.slice(0, record.text.indexOf(stop))}\n`);

    const longer = await runTask("generate", run, "--context", "9");
    assertEquals([longer.code, longer.stdout, longer.stderr.split("\n").length], [1, "", 2]);
    assertStringIncludes(longer.stderr, "error: A context of 9 tokens is too long: the model has learned");
  });
});

Deno.test("generate writes what an encoder and decoder makes of the prompt, in a longer context", async () => {
  await withFolder(async (run) => {
    const model = ["model.architecture=encoderDecoder", "model.positions=t5", "objective.kind=span"];
    await trainTiny(run, ...model);
    const options = ["--context", "21", "--max-tokens", "12", "--json"];
    const { code, stdout, stderr } = await runTask("generate", run, "--prompt", "the cat sat", ...options);
    assertEquals(code, 0, stderr);
    const { prompt, text } = JSON.parse(stdout);
    assertEquals([prompt, stderr], ["the cat sat", `the cat sat${text}\n`]);
    assert(text.length > 0 && text.length <= 12, text);
  });
});

Deno.test("generate stops at a signal", async () => {
  await withFolder(async (run) => {
    await trainTiny(run);
    const child = taskCommand("generate", run, "--max-tokens", "1000000").spawn();
    const stderr = new Response(child.stderr).text();
    let printed = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      if (printed === "") child.kill("SIGINT");
      printed += text;
    }
    assertEquals([(await child.status).code, await stderr], [130, ""]);
    assert(printed.endsWith("\n"));
  });
});

Deno.test("generate refuses what it can't do in one line", async () => {
  const cases = [
    [[], "error: Found no model, expected one"],
    [["a", "b"], "error: Found a and b, expected one"],
    [["no-such-run"], 'error: Cannot read "no-such-run/config.json"'],
    [["a", "--prompt", "x", "--prompt-file", "y"], "error: Found both --prompt and --prompt-file"],
    [["a", "--prompt-file", "no-such-file"], "error: Cannot read no-such-file"],
    [["a", "--top-p", "2"], "error: --top-p is 2, expected a number above 0 and at most 1"],
    [["a", "--top-k", "1.5"], "error: --top-k is 1.5, expected a whole number above 0"],
    [["a", "--max-tokens", "-1"], "error: --max-tokens is -1, expected a whole number from 0"],
    [["a", "--temperature=-1"], "error: --temperature is -1, expected a number from 0"],
    [
      ["a", "--seed", "4294967296"],
      "error: --seed is 4294967296, expected a whole number from 0 to 4294967295",
    ],
  ] as const;
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await runTask("generate", ...args);
    assertEquals([code, stdout, stderr.split("\n").length], [1, "", 2]);
    assertStringIncludes(stderr, message);
    assert(!stderr.includes("os error"), stderr);
  }
});
