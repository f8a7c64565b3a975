import { assert, assertEquals } from "@std/assert";
import { probeDialect, spoken, WIDE_WORDS } from "../../src/gpu/dialect.ts";
import { openGpu } from "../../src/gpu/device.ts";
import { KernelSource } from "../../src/gpu/kernel.ts";
import { Pipelines } from "../../src/gpu/pipelines.ts";
import { place } from "../../src/gpu/place.ts";
import { Runtime } from "../../src/gpu/program.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { Arena } from "../../src/gpu/tensor.ts";

const COPY = new KernelSource(
  "copy.wgsl",
  `//# tensor x : read vec4
//# tensor y : write vec4
//# threads 8
fn kernel(group: u32, lane: u32) { store4_y(lane, load4_x(lane).wzyx); }`,
);

Deno.test("spoken() gives the same bits for groups of four in either kind of words", async () => {
  const gpu = await openGpu();
  // Signed zeros, denormals, infinities, not-a-numbers with a payload, and ordinary numbers.
  const bits = Uint32Array.from(
    { length: 32 },
    (_, i) => [0x80000000, 1, 0x807fffff, 0x7f800000, 0xff800000, 0x7fc12345, 0x3f800001][i % 7] ^ (i >> 3),
  );
  const reversed = bits.map((_, i) => bits[i - i % 4 + 3 - i % 4]);
  for (const hasWideWords of gpu.device.features.has(WIDE_WORDS) ? [false, true] : [false]) {
    const dialect = { ...gpu.dialect, hasWideWords };
    const runtime = new Runtime({ ...gpu, dialect, pipelines: new Pipelines() });
    const [x, y] = ["x", "y"].map((name) => new Arena(name, 4096));
    const tensors = { x: x.add("x", [32]), y: y.add("y", [32]) };
    const recorder = new Recorder(gpu.limits);
    recorder.dispatch(COPY.kernel(), { tensors, groups: 1 });
    await runtime.allocate(x, y);
    const [program] = await runtime.load([place(recorder)]);
    runtime.write(tensors.x.whole(), new Float32Array(bits.buffer));
    runtime.run(program);
    const found = await runtime.read(tensors.y.whole());
    assertEquals(new Uint32Array(found.buffer), reversed, `wide words: ${hasWideWords}`);
    runtime.close();
  }
  gpu.close();
});

Deno.test("a software driver is asked for wide words, and they are used where it has them", async () => {
  const gpu = await openGpu();
  assertEquals(gpu.dialect.hasWideWords, gpu.device.features.has(WIDE_WORDS));
  assert(gpu.isSoftware || !gpu.dialect.hasWideWords);
  gpu.close();
});

Deno.test("probeDialect() asks for subgroups where the compiler knows the word, and spoken() keeps the lines", async () => {
  const device = (refuses: boolean): GPUDevice =>
    ({
      features: new Set(["subgroups"]),
      pushErrorScope() {},
      createShaderModule: () => ({}),
      popErrorScope: () => Promise.resolve(refuses ? { message: "unknown" } : null),
    }) as unknown as GPUDevice;
  const standard = await probeDialect(device(false));
  const naga = await probeDialect(device(true));
  const lines = (code: string) => code.split("\n").slice(0, 2);
  assertEquals(lines(spoken("a\nb", standard)), ["enable subgroups; a", "b"]);
  assertEquals(lines(spoken("a\nb", naga)), ["a", "b"]);
});
