import { assertEquals, assertThrows } from "@std/assert";
import { type Constant, evaluate } from "../../src/gpu/expression.ts";

function value(text: string, constants: Record<string, Constant> = {}): Constant {
  return evaluate(text, new Map(Object.entries(constants)));
}

Deno.test("evaluate() binds operators as WGSL does", () => {
  const results: [string, number][] = [
    ["1 + 2 * 3", 7],
    ["(1 + 2) * 3", 9],
    ["10 - 4 - 3", 3],
    ["7 / 2", 3],
    ["-7 / 2", -3],
    ["24 / 4 / 3", 2],
    ["17 % 5 * 2", 4],
    ["3 - -2", 5],
    ["1 + 1 == 2", 1],
    ["1 < 2 == 1", 1],
    ["2 <= 2 && 3 >= 4", 0],
    ["0 && 1 || 1", 1],
    ["1 || 1 && 0", 1],
    ["!0 + !5", 1],
    ["!(1 && 0)", 1],
    ["1 ? 2 : 3", 2],
    ["0 ? 2 : 0 ? 3 : 4", 4],
    ["1 ? 0 ? 5 : 6 : 7", 6],
    ["  12  ", 12],
  ];
  for (const [text, expected] of results) assertEquals(value(text), expected, text);
});

Deno.test("evaluate() knows constants, and words that stand for themselves", () => {
  assertEquals(value("TM * 4 + i", { TM: 8, i: 3 }), 35);
  assertEquals(value("KIND == gelu", { KIND: "gelu" }), 1);
  assertEquals(value("KIND == gelu", { KIND: "geluErf" }), 0);
  assertEquals(value("KIND != gelu && ACC", { KIND: "relu", ACC: 1 }), 1);
  assertEquals(value("ACC ? read_write : write", { ACC: 0 }), "write");
});

Deno.test("evaluate() says what is wrong with an expression", () => {
  const mistakes: [string, string][] = [
    ["TM + 1", "unknown constant TM"],
    ["1 +", "ends too early"],
    ["", "ends too early"],
    ["(1 + 2", 'missing ")"'],
    ["1 ? 2", 'missing ":"'],
    ["1 2", 'unexpected "2"'],
    ["1 + * 2", 'unexpected "*"'],
    ["1 & 2", 'unexpected "& 2"'],
    ["gelu + 1", "needs numbers"],
    ["-gelu", "needs a number"],
    ["!gelu", "needs a number"],
    ["4 / 0", "divides by 0"],
    ["4 % 0", "divides by 0"],
  ];
  for (const [text, message] of mistakes) assertThrows(() => value(text), Error, message);
});
