import { assert, assertAlmostEquals, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { stepFolder, TEXT, trainTiny } from "../eval/support.ts";
import { withFolder } from "../train/tinyRun.ts";
import { runTask } from "./verbs.ts";

Deno.test("eval scores a run on its held-out part and on texts", async () => {
  await withFolder(async (run) => {
    const { validation } = await trainTiny(run);
    const heldOut = await runTask("eval", run, "--json");
    assertEquals(heldOut.code, 0, heldOut.stderr);
    const record = JSON.parse(heldOut.stdout);
    assertEquals([record.model, record.text], [stepFolder(run, 3), null]);
    assertEquals([record.loss, record.rows], [validation!.loss, validation!.rows]);
    assertAlmostEquals(record.bitsPerByte, validation!.bitsPerByte, 1e-12); // divided in another order
    assertStringIncludes(
      heldOut.stderr,
      `loss ${record.loss.toFixed(4)} ± ${record.lossStandardError.toFixed(4)}`,
    );

    const files = [join(run, "a.txt"), join(run, "b.txt")];
    await Deno.writeTextFile(files[0], TEXT);
    await Deno.writeTextFile(files[1], "cats");
    const texts = await runTask("eval", stepFolder(run, 2), "--text", ...files);
    const lines = texts.stdout.trim().split("\n");
    assertMatch(
      lines[0],
      /step-2 on .*a\.txt: loss [\d.]+ ± [\d.]+ nats\/token, perplexity [\d.]+ ± [\d.]+, [\d.]+ ± [\d.]+ bits\/byte \(623 tokens, 623 bytes\)$/,
    );
    assertMatch(
      lines[1],
      /b\.txt: loss [\d.]+ nats\/token, perplexity [\d.]+, [\d.]+ bits\/byte \(3 tokens, 3 bytes\)$/,
    );

    await Deno.writeTextFile(files[1], "Ω");
    const unknown = await runTask("eval", run, "--text", files[1]);
    assertEquals(unknown.code, 1);
    assertStringIncludes(unknown.stderr, `error: ${files[1]}: Character "Ω"`);
    assertEquals(unknown.stderr.split("\n").length, 2);
    const some = await runTask("eval", run, "--json", "--text", "no-such-file", files[1], files[0]);
    assertEquals(some.code, 1);
    const records = some.stdout.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(records.map(({ text }) => text), ["no-such-file", files[1], files[0]]);
    assertMatch(records[0].error, /^Cannot read no-such-file: [^()]+$/);
    assertMatch(records[1].error, /b\.txt: Character "Ω"/);
    assert(records[2].loss > 0);
    assert(some.stderr.endsWith("\nerror: 2 of 3 texts could not be scored\n"), some.stderr);
    const missing = await runTask("eval", run, "--text", "no-such-file");
    assertEquals([missing.code, missing.stderr.split("\n").length], [1, 2]);
    assertStringIncludes(missing.stderr, "error: Cannot read no-such-file");
  });
});

Deno.test("eval scores in rows of another length", async () => {
  await withFolder(async (run) => {
    const model = ["model.architecture=nonCausalDecoder", "model.positions=alibi", "objective.kind=prefix"];
    const { validation } = await trainTiny(run, ...model);
    const [usual, longer] = await Promise.all([[], ["--context", "13"]].map(async (context) => {
      const { code, stdout, stderr } = await runTask("eval", run, "--json", ...context);
      assertEquals(code, 0, stderr);
      return JSON.parse(stdout);
    }));
    assertEquals([usual.loss, usual.rows], [validation!.loss, Math.ceil(62 / 8)]);
    assertEquals(longer.rows, Math.ceil(62 / 13));
  });
});

Deno.test("eval refuses to guess the model", async () => {
  for (const [args, found] of [[[], "no model"], [["a", "b"], "a and b"]] as const) {
    const { code, stderr } = await runTask("eval", ...args);
    assertEquals(code, 1);
    assertStringIncludes(stderr, `error: Found ${found}, expected one model`);
  }
});
