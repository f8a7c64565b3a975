import { assert, assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { UserError, verify } from "../../mod.ts";

const FIXTURES = fromFileUrl(new URL("../fixtures", import.meta.url));

Deno.test("verify() holds the ops against the CPU, until it is told to stop", async () => {
  const stop = new AbortController();
  const names = new Set<string>();
  const ending = (async () => {
    for await (const { case: name, ok, maxError, tolerance } of verify(null, { signal: stop.signal })) {
      assert(ok, `${name}: ${maxError} is more than ${tolerance}`);
      names.add(name);
      if (names.size === 2) stop.abort(new Error("enough"));
    }
  })();
  await assertRejects(() => ending, Error, "enough");
  assertEquals(names.size, 2);
});

Deno.test("verify() runs a reference case, and refuses what is none", async () => {
  const comparisons = await Array.fromAsync(verify(`${FIXTURES}/tokenizers/gpt2`));
  assert(comparisons.length > 0);
  assert(comparisons.every(({ ok }) => ok));
  await assertRejects(() => verify(FIXTURES).next(), UserError, "neither reference.safetensors nor");
});
