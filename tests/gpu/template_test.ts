import { assertEquals, assertThrows } from "@std/assert";
import { type Constants, expand } from "../../src/gpu/template.ts";

/** Expands the lines of a template; `tensor` is the only directive that is declared. */
function run(text: string, constants: Constants = {}, includes: Record<string, string> = {}) {
  const files = new Map(
    Object.entries(includes).map(([name, text]) => [name, { name: `${name}.wgsl`, text }]),
  );
  const file = { name: "main.wgsl", text };
  return expand(file, constants, files, (directive, rest) => directive === "tensor" ? [`T ${rest}`] : null);
}

Deno.test("expand() repeats the lines of a loop, also of loops in loops", () => {
  const { lines } = run(
    [
      "begin",
      "//# for i in 0..N",
      "//#   for j in i..2",
      "  s${i}_${j} = ${i * 10 + j};",
      "//#   end",
      "//# end",
      "//# for i in 3..3",
      "never",
      "//# end",
      "end",
    ].join("\n"),
    { N: 2 },
  );
  assertEquals(lines, ["begin", "  s0_0 = 0;", "  s0_1 = 1;", "  s1_1 = 11;", "end"]);
});

Deno.test("expand() keeps the branch of an if whose condition holds", () => {
  const text = [
    "//# if A",
    "a",
    "//#   if B",
    "ab",
    "//#   else",
    "a only",
    "//#   end",
    "//# else",
    "//#   if B",
    "b only",
    "//#   end",
    "//# end",
  ].join("\n");
  assertEquals(run(text, { A: true, B: true }).lines, ["a", "ab"]);
  assertEquals(run(text, { A: true, B: false }).lines, ["a", "a only"]);
  assertEquals(run(text, { A: false, B: true }).lines, ["b only"]);
  assertEquals(run(text, { A: false, B: false }).lines, []);
});

Deno.test("expand() does not evaluate what a condition leaves out", () => {
  assertEquals(run("//# if GATED\n${MISSING}\n//# end\nrest", { GATED: 0 }).lines, ["rest"]);
});

Deno.test("expand() keeps a let for the rest of the file, inside a loop for the round", () => {
  const { lines } = run([
    "//# let X = 1",
    "//# for i in 0..2",
    "//#   let X = X + i + 10",
    "${X}",
    "//# end",
    "${X}",
    "//# if 1",
    "//#   let Y = X + 1",
    "//# end",
    "${Y}",
  ].join("\n"));
  assertEquals(lines, ["11", "12", "1", "2"]);
});

Deno.test("expand() includes a file, which sees the constants and leaves its own", () => {
  const { lines, origins } = run(
    "//# include shared\n//# tensor x : ${ACC ? read_write : write}\n${TWICE}",
    { N: 4, ACC: 1 },
    { shared: "//# let TWICE = 2 * N\nn = ${N};" },
  );
  assertEquals(lines, ["n = 4;", "T x : read_write", "8"]);
  assertEquals(origins, ["shared.wgsl:2", "main.wgsl:2", "main.wgsl:3"]);
});

Deno.test("expand() says of each line where it comes from", () => {
  const { origins } = run("a\n//# for i in 0..2\nb\n//# end\nc");
  assertEquals(origins, ["main.wgsl:1", "main.wgsl:3", "main.wgsl:3", "main.wgsl:5"]);
});

Deno.test("expand() names file and line of a mistake", () => {
  const mistakes: [string, string][] = [
    ["a\nb = ${MISSING};", "main.wgsl:2: unknown constant MISSING"],
    ["a\n//# for i in 0..2\nb", "main.wgsl:2: no matching end"],
    ["//# if 1\n//# if 1\n//# end", "main.wgsl:1: no matching end"],
    ["a\n//# end", 'main.wgsl:2: unknown directive "end"'],
    ["//# else", 'main.wgsl:1: unknown directive "else"'],
    ["//# for i in 0..2\n//# else\n//# end", 'main.wgsl:2: unknown directive "else"'],
    ["//# for i from 0 to 2\n//# end", 'main.wgsl:1: expected "for i in a..b"'],
    ["//# let X 3", 'main.wgsl:1: expected "let NAME = expression"'],
    ["//# include nothing", "main.wgsl:1: no shader file nothing"],
    ["//# twice 3", 'main.wgsl:1: unknown directive "twice"'],
    ["//# include shared", "shared.wgsl:2: unknown constant NOWHERE"],
  ];
  for (const [text, message] of mistakes) {
    assertThrows(() => run(text, {}, { shared: "ok\n${NOWHERE}" }), Error, message);
  }
});
