import { assertEquals, assertThrows } from "@std/assert";
import { deriveRun } from "../../src/config/derive.ts";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";

function updateOf(...overrides: string[]) {
  return deriveRun(resolveConfig({ overrides })).update;
}

Deno.test("deriveUpdate() fills in what is usual with the kind", () => {
  const weightDecay = 0.1;
  assertEquals(updateOf(), { kind: "adamw", beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay });
  assertEquals(updateOf("optimizer.kind=adafactor"), {
    kind: "adafactor",
    beta1: 0,
    beta2: null,
    eps: 1e-30,
    weightDecay,
    scaleParameter: true,
  });
});

Deno.test("deriveUpdate() takes what is given, by either kind", () => {
  const numbers = ["optimizer.beta1=0", "optimizer.beta2=0", "optimizer.eps=0.5", "optimizer.weightDecay=0"];
  const shared = { beta1: 0, beta2: 0, eps: 0.5, weightDecay: 0 };
  assertEquals(updateOf(...numbers), { kind: "adamw", ...shared });
  assertEquals(updateOf("optimizer.kind=adafactor", "optimizer.scaleParameter=false", ...numbers), {
    kind: "adafactor",
    ...shared,
    scaleParameter: false,
  });
});

Deno.test("deriveUpdate() refuses an option that the kind lacks, also where it asks for nothing", () => {
  for (const value of ["true", "false"]) {
    assertThrows(
      () => updateOf(`optimizer.scaleParameter=${value}`),
      UserError,
      `optimizer.scaleParameter is ${value}, but adamw's steps don't depend on the size of the weights; ` +
        "expected null, or optimizer.kind=adafactor",
    );
  }
});
