import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { caseName } from "../../src/verify/caseFolder.ts";
import { editJson, editTensors, FIXTURES, withCopy } from "../verify/brokenCopies.ts";
import { runTask } from "./verbs.ts";

const lines = (text: string) => text.trimEnd().split("\n").map((line) => JSON.parse(line));

Deno.test("verify tells the device and checks every op", async () => {
  const { code, stdout, stderr } = await runTask("verify", "--json");
  assertMatch(stderr, /^adapter .*\ndriver .*\nlimits /);
  assertMatch(stderr, /^ok +attention /m);
  const [device, ...comparisons] = lines(stdout);
  assert(device.adapter.length > 0 && device.limits.maxBinding > 0);
  for (const each of comparisons) {
    assertEquals(Object.keys(each), ["case", "quantity", "maxError", "tolerance", "ok"]);
    assertEquals(each.ok, each.maxError <= each.tolerance);
  }
  assertEquals([code, comparisons.filter(({ ok }) => !ok)], [0, []]);
  assertStringIncludes(stderr, `All ${comparisons.length} quantities are within their tolerance\n`);
});

Deno.test("verify prints each quantity beside its tolerance", async () => {
  const { code, stdout, stderr } = await runTask("verify", join(FIXTURES, "study/learned-gelu"));
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^study\/learned-gelu\nok +logits +\d\.\de-\d of \d\.\de-5\n/);
  assertMatch(stdout, /^ok +final\.pos_emb /m);
});

Deno.test("verify goes on after a case that cannot be run, and ends with 1", async () => {
  await withCopy("hf/gpt2", async (unknown) => {
    editJson(join(unknown, "config.json"), { model_type: "hal" });
    const folders = [unknown, join(FIXTURES, "tokenizers/gpt2"), join(FIXTURES, "hf")];
    const { code, stdout, stderr } = await runTask("verify", "--json", ...folders);
    assertEquals(code, 1);
    const [first, ...others] = lines(stdout);
    assertEquals([first.case, first.ok], [caseName(unknown), false]);
    assertStringIncludes(first.error, "hal");
    assertEquals(others.slice(0, 5).map((each) => each.case), Array(5).fill("tokenizers/gpt2"));
    assertStringIncludes(others[5].error, "neither");
    assertMatch(stderr, /\nerror: 2 cases could not be run\n$/);
  });
});

Deno.test("verify ends with 1 and one line for a case that cannot be run", async () => {
  await withCopy("study/learned-gelu", async (folder) => {
    editJson(join(folder, "config.json"), { attention: "spiral" });
    const plain = await runTask("verify", folder);
    assertEquals([plain.code, plain.stdout], [1, ""]);
    assertMatch(plain.stderr, /^error: .*attention.*"spiral".*\n$/); // one line: . is no line end
    const { code, stdout, stderr } = await runTask("verify", "--json", folder);
    assertEquals([code, stderr], [1, plain.stderr]);
    assertEquals(lines(stdout), [{
      case: caseName(folder),
      ok: false,
      error: stderr.slice("error: ".length, -1),
    }]);
  });
});

Deno.test("verify tells of a folder that is missing without the system's own words", async () => {
  const { code, stdout, stderr } = await runTask("verify", "--json", "no/such-folder");
  assertEquals(code, 1);
  assertMatch(stderr, /^error: Cannot read the folder "no\/such-folder": [^()]+; check the path\n$/);
  assertEquals(lines(stdout).map(({ case: name, ok }) => [name, ok]), [["no/such-folder", false]]);
});

Deno.test("verify ends with 1 where a quantity is outside, with numbers in its JSON even for NaN", async () => {
  await withCopy("study/learned-gelu", async (folder) => {
    await editTensors(join(folder, "model.safetensors"), { "blocks.0.attn.qkv.weight": { value: 3e38 } });
    const { code, stdout, stderr } = await runTask("verify", "--json", folder);
    assertEquals(code, 1);
    const [logits] = lines(stdout);
    assertEquals([logits.quantity, logits.maxError, logits.ok], ["logits", Number.MAX_VALUE, false]);
    assertMatch(stderr, /^OUTSIDE +logits /m);
    assertMatch(stderr, /\nerror: \d+ of 37 quantities are outside their tolerance\n$/);
  });
});

Deno.test("verify refuses bindings that are too small or no number", async () => {
  for (const value of ["1024", "70000.5", "-1"]) {
    const { code, stderr } = await runTask("verify", `--max-binding=${value}`);
    assertEquals([code, stderr], [
      1,
      `error: --max-binding is ${value}, expected a whole number from 16384\n`,
    ]);
  }
});
