import { assert, assertEquals, assertNotEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { KernelSource, LIVE_BYTES, LIVE_FIELDS, LIVE_STRIDE } from "../../src/gpu/kernel.ts";

const TEXT = `//# uniforms rows eps:f32
//# uniforms width
//# tensor x : read vec4
//# tensor ids : read u32
//# if ACC
//# tensor y : read_write
//# else
//# tensor y : write
//# end
@compute @workgroup_size(1) fn main() {}`;

Deno.test("kernel() takes slots and fields from the shader's declarations", () => {
  const kernel = new KernelSource("k.wgsl", TEXT).kernel({ ACC: false });
  assertEquals(kernel.slots, [
    { name: "x", access: "read" },
    { name: "ids", access: "read" },
    { name: "y", access: "write" },
  ]);
  assertEquals(kernel.fields, [
    { name: "rows", type: "u32" },
    { name: "eps", type: "f32" },
    { name: "width", type: "u32" },
  ]);
});

Deno.test("kernel() declares bindings, uniforms and accessors in the code", () => {
  const { code, origins } = new KernelSource("k.wgsl", TEXT).kernel({ ACC: false });
  const expected = [
    "@group(0) @binding(0) var<uniform> live: Live;",
    "struct Uniforms {\n  rows: u32,\n  eps: f32,\n  width: u32,\n  at_x: u32,\n  at_ids: u32,\n  at_y: u32,\n}",
    "@group(0) @binding(1) var<uniform> u: Uniforms;",
    "@group(0) @binding(2) var<storage, read> data_x: array<Quad>;",
    "fn load4_x(i: u32) -> vec4f { return values_of(data_x[(u.at_x >> 2u) + i]); }",
    "@group(0) @binding(3) var<storage, read> data_ids: array<u32>;",
    "fn load_ids(i: u32) -> u32 { return data_ids[u.at_ids + i]; }",
    "@group(0) @binding(4) var<storage, read_write> data_y: array<f32>;",
    "fn store_y(i: u32, value: f32) { data_y[u.at_y + i] = value; }",
  ];
  for (const text of expected) assert(code.includes(text), `${text}\nnot in\n${code}`);
  assert(!code.includes("store4_x"), "what is only read has no store");
  assertEquals(origins.length, code.split("\n").length);
  assertEquals(origins.at(-1), "k.wgsl:10");
});

Deno.test("kernel() makes one kernel for each set of constants", () => {
  const source = new KernelSource("k.wgsl", TEXT);
  assertStrictEquals(source.kernel({ ACC: 1 }), source.kernel({ ACC: 1 }));
  assertNotEquals(source.kernel({ ACC: 1 }).key, source.kernel({ ACC: 0 }).key);
  assertEquals(source.kernel({ ACC: 1 }).slots.at(-1)?.access, "read_write");
});

Deno.test("kernel() refuses wrong declarations, by file and line", () => {
  const mistakes: [string, string][] = [
    ["//# tensor x", "k.wgsl:1: expected"],
    ["a\n//# tensor x : append", "k.wgsl:2: expected"],
    ["//# tensor x : read f64", "k.wgsl:1: expected"],
    ["//# uniforms n eps:f16", 'k.wgsl:1: expected u32 or f32, found "eps:f16"'],
    ["//# buffers x", 'k.wgsl:1: unknown directive "buffers"'],
  ];
  for (const [text, message] of mistakes) {
    assertThrows(() => new KernelSource("k.wgsl", text).kernel(), Error, message);
  }
});

Deno.test("LIVE_FIELDS fit between the records of two stacks", () => {
  assert(LIVE_BYTES <= LIVE_STRIDE);
  assertEquals(new Set(LIVE_FIELDS.map(([name]) => name)).size, LIVE_FIELDS.length);
});
