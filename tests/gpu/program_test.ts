import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { KernelSource } from "../../src/gpu/kernel.ts";
import { place } from "../../src/gpu/place.ts";
import { Runtime } from "../../src/gpu/program.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { Arena, type Slice, type Tensor } from "../../src/gpu/tensor.ts";
import { fullBinding, testGpu } from "../_gpu.ts";

const affine = new KernelSource(
  "affine.wgsl",
  `// y = factor * x + step.
//# uniforms count factor:f32
//# tensor x : read
//# tensor y : write
//# threads 1
fn kernel(i: u32, lane: u32) {
  if (i < u.count) { store_y(i, u.factor * load_x(i) + f32(live.step)); }
}`,
).kernel();

function recordAffine(recorder: Recorder, x: Tensor | Slice, y: Tensor | Slice, factor: number): void {
  const count = "length" in x ? x.length : x.size;
  recorder.dispatch(affine, {
    tensors: { x, y },
    uniforms: { count, factor },
    groups: count,
    flops: 2 * count,
  });
}

/** Two arenas with a tensor each, and a runtime that is closed at the end. */
async function withTensors(
  gpu: Gpu,
  shape: readonly number[],
  body: (runtime: Runtime, recorder: Recorder, x: Tensor, y: Tensor) => Promise<void>,
): Promise<void> {
  const runtime = new Runtime(gpu);
  try {
    const arenas = ["in", "out"].map((name) => new Arena(name, gpu.limits.maxBuffer));
    for (const arena of arenas) arena.add("padding", [1]); // so that the tensors do not begin at byte 0
    const [x, y] = arenas.map((arena) => arena.add("values", shape));
    for (const arena of arenas) await runtime.allocate(arena);
    await body(runtime, new Recorder(gpu.limits), x, y);
  } finally {
    runtime.close();
  }
}

const ramp = (n: number) => Float32Array.from({ length: n }, (_, i) => i);

Deno.test("run() replays a program, with the values of each call", async () => {
  await withTensors(await testGpu(), [5], async (runtime, recorder, x, y) => {
    const middle = recorder.tensor("middle", [5]);
    recordAffine(recorder, x, middle, 2);
    recordAffine(recorder, middle, y, 10);
    const [program] = await runtime.load([place(recorder)]);
    runtime.write(x.whole(), ramp(5));
    runtime.run(program);
    assertEquals([...await runtime.read(y.whole())], [0, 20, 40, 60, 80]);
    runtime.run(program, { step: 3 });
    assertEquals([...await runtime.read(y.whole())], [33, 53, 73, 93, 113]);
    runtime.write(x.rows(1, 3), Float32Array.of(-1, -2));
    runtime.run(program);
    assertEquals([...await runtime.read(y.rows(1, 4))], [-20, -40, 60]);
  });
});

Deno.test("run() binds windows that begin anywhere in a tensor", async () => {
  const columns = 67; // 268 bytes: no window of rows begins at a multiple of 256
  await withTensors(await testGpu(), [9, columns], async (runtime, recorder, x, y) => {
    for (const [from, to] of [[0, 1], [1, 3], [3, 8], [8, 9]]) {
      recordAffine(recorder, x.rows(from, to), y.rows(from, to), from + 1);
    }
    const [program] = await runtime.load([place(recorder)]);
    runtime.write(x.whole(), ramp(9 * columns));
    runtime.run(program);
    const factors = [1, 2, 2, 4, 4, 4, 4, 4, 9];
    const expected = ramp(9 * columns).map((value, i) => value * factors[Math.floor(i / columns)]);
    assertEquals(await runtime.read(y.whole()), expected);
  });
});

Deno.test("run() folds a grid that is longer than the limit of a dimension", async () => {
  const count = 53;
  await withTensors(await testGpu({ maxGroups: 7 }), [count], async (runtime, recorder, x, y) => {
    recordAffine(recorder, x, y, 1);
    const [program] = await runtime.load([place(recorder)]);
    runtime.write(x.whole(), ramp(count));
    runtime.run(program);
    assertEquals(await runtime.read(y.whole()), ramp(count));
  });
  const count2 = 65535 + 2;
  const uncapped = await testGpu(await fullBinding());
  await withTensors(uncapped, [count2], async (runtime, recorder, x, y) => {
    recordAffine(recorder, x, y, 1);
    const [program] = await runtime.load([place(recorder)]);
    runtime.write(x.whole(), ramp(count2));
    runtime.run(program);
    assertEquals(await runtime.read(y.whole()), ramp(count2));
  });
});

Deno.test("run() leaves out dispatches without groups, and asks for their number at each call", async () => {
  await withTensors(await testGpu(), [3], async (runtime, recorder, x, y) => {
    const tensors = { x, y };
    const uniforms = { count: 3, factor: 1 };
    recorder.dispatch(affine, { tensors, uniforms, groups: ({ rows = 0 }) => rows });
    const [program] = await runtime.load([place(recorder)]);
    runtime.write(x.whole(), Float32Array.of(1, 2, 3));
    runtime.run(program, { rows: 0 });
    assertEquals([...await runtime.read(y.whole())], [0, 0, 0]);
    runtime.run(program, { rows: 2 });
    assertEquals([...await runtime.read(y.whole())], [1, 2, 0]);
  });
});

Deno.test("load() lets programs share pooled buffers, also those that are loaded later and need larger ones", async () => {
  const gpu = await testGpu();
  await withTensors(gpu, [3], async (runtime, recorder, x, y) => {
    const big = new Arena("big", gpu.limits.maxBuffer);
    const wide = big.add("wide", [300]);
    await runtime.allocate(big);
    const before = runtime.bytes;
    const middle = recorder.tensor("middle", [3]);
    recordAffine(recorder, x, middle, 2);
    recordAffine(recorder, middle, y, 1);
    const [small] = await runtime.load([place(recorder)]);
    const later = new Recorder(gpu.limits);
    const wideMiddle = later.tensor("wide middle", [300]);
    recordAffine(later, wide, wideMiddle, 3);
    recordAffine(later, wideMiddle.rows(297, 300), y, 1);
    const [large] = await runtime.load([place(later)]);
    assertEquals(runtime.bytes - before, 256 + 2 * 256 + 1280 + 2 * 256);
    runtime.write(x.whole(), ramp(3));
    runtime.write(wide.whole(), ramp(300));
    runtime.run(large);
    assertEquals([...await runtime.read(y.whole())], [891, 894, 897]);
    runtime.run(small);
    assertEquals([...await runtime.read(y.whole())], [0, 2, 4]);
  });
});

Deno.test("load() refuses a dispatch that writes a buffer which it also reads", async () => {
  const gpu = await testGpu();
  await withTensors(gpu, [4], async (runtime, recorder, x) => {
    recordAffine(recorder, x.rows(0, 2), x.rows(2, 4), 1);
    await assertRejects(
      () => runtime.load([place(recorder)]),
      Error,
      "affine.wgsl {}: y and x lie in the same buffer",
    );
  });
});

Deno.test("load() refuses a window beyond the binding limit", async () => {
  await withTensors(await testGpu({ maxBinding: 512 }), [200], async (runtime, recorder, x, y) => {
    recordAffine(recorder, x, y, 1);
    await assertRejects(() => runtime.load([place(recorder)]), Error, "exceeds the binding limit of 512");
  });
});

Deno.test("load() names file and line of a shader that does not compile", async () => {
  const gpu = await testGpu();
  const mistakes = [
    "store_y(0u, 1u + 1.5f);", // types
    "store_y(0u, nowhere);", // names
    "store_y(0u, 1.0;", // syntax
    "return 1.0;", // what it returns
  ];
  for (const mistake of mistakes) {
    const kernel = new KernelSource(
      "wrong.wgsl",
      `//# tensor y : write
//# for i in 0..2
// round \${i}
//# end
@compute @workgroup_size(1) fn main() {
  ${mistake}
}`,
    ).kernel();
    const recorder = new Recorder(gpu.limits);
    recorder.dispatch(kernel, { tensors: { y: new Arena("sink", 4096).add("sink", [1]) }, groups: 1 });
    const runtime = new Runtime(gpu);
    const error = await assertRejects(() => runtime.load([place(recorder)]), Error, "wrong.wgsl:6:");
    assert(error.message.includes(`(${mistake})`), error.message);
    gpu.check(); // it was caught, and the device can still be used
    runtime.close();
  }
});

Deno.test("load() says which buffer is too large for the adapter", async () => {
  const gpu = await testGpu({ maxBuffer: 4096 });
  const recorder = new Recorder(gpu.limits);
  const large = recorder.tensor("large", [2000]);
  const [source, sink] = ["source", "sink"].map((name) => new Arena(name, 4096).add(name, [1000]));
  recordAffine(recorder, source, large.rows(0, 1000), 1);
  recordAffine(recorder, large.rows(0, 1000), sink, 1);
  const runtime = new Runtime(gpu);
  const message = "activations take 8192 bytes in one buffer, more than this adapter allows (4096)";
  await assertRejects(() => runtime.load([place(recorder)]), RangeError, message);
  runtime.close();
  assertThrows(
    () => new Arena("weights", 4096).add("tok_emb", [2000]),
    RangeError,
    "tok_emb takes 8192 bytes",
  );
});

Deno.test("write() and read() refuse pooled tensors, wrong lengths and arenas without memory", async () => {
  const gpu = await testGpu();
  await withTensors(gpu, [4], async (runtime, recorder, x) => {
    const pooled = recorder.tensor("hidden", [2]);
    const homeless = new Arena("elsewhere", 4096).add("weights", [2]);
    assertThrows(() => runtime.write(pooled.whole(), ramp(2)), Error, "hidden is pooled");
    await assertRejects(() => runtime.read(pooled.whole()), Error, "hidden is pooled");
    assertThrows(() => runtime.write(x.whole(), ramp(3)), Error, "values: expected 4 values, found 3");
    assertThrows(() => runtime.write(homeless.whole(), ramp(2)), Error, "elsewhere was not allocated");
    runtime.write(x.rows(2, 2), ramp(0)); // nothing to do
  });
});

Deno.test("readAll() cuts what is larger than the staging buffer, and keeps the order", async () => {
  const gpu = await testGpu();
  const runtime = new Runtime(gpu);
  const arena = new Arena("weights", gpu.limits.maxBuffer);
  const sizes = [3, 2 ** 24 - 5, 1, 7, 2 ** 16 + 1]; // the second and the third share a staging buffer's end
  const tensors = sizes.map((size, i) => arena.add(`${i}`, [size]));
  await runtime.allocate(arena);
  const values = sizes.map((size, i) => ramp(size).map((value) => value + i));
  tensors.forEach((tensor, i) => runtime.write(tensor.whole(), values[i]));
  const order = [4, 1, 0, 3, 2];
  const found = await runtime.readAll(order.map((i) => tensors[i].whole()));
  order.forEach((i, k) => assert(found[k].every((value, at) => value === values[i][at]), `tensor ${i}`));
  assertEquals(found.map(({ length }) => length), order.map((i) => sizes[i]));
  assertEquals(await runtime.readAll([]), []);
  assertEquals(await runtime.readAll([tensors[0].rows(1, 1), tensors[3].rows(5, 7)]), [
    new Float32Array(),
    Float32Array.of(8, 9),
  ]);
  runtime.close();
});

Deno.test("allocate() makes all arenas or none", async () => {
  const gpu = await testGpu();
  let left = 2;
  const scoped: Gpu["scoped"] = (what, advice, create) => {
    if (left-- === 0) return Promise.reject(new UserError(`no memory for ${what}: ${advice}`));
    return gpu.scoped(what, advice, create);
  };
  const runtime = new Runtime({ ...gpu, scoped });
  const before = runtime.bytes;
  const arenas = ["a", "b", "c"].map((name) => new Arena(name, 4096));
  for (const arena of arenas) arena.add("x", [5]);
  await assertRejects(
    () => runtime.allocate(...arenas),
    UserError,
    "no memory for the c (256 bytes): choose",
  );
  assertEquals(runtime.bytes, before);
  assertThrows(() => runtime.clear(arenas[0]), Error, "a was not allocated");
  left = Infinity;
  await runtime.allocate(...arenas);
  assertEquals(runtime.bytes - before, 3 * 256);
  runtime.free(arenas[0], arenas[2]);
  assertEquals(runtime.bytes - before, 256);
  runtime.close();
});

Deno.test("load() ends with the signal's reason between two compiles", async () => {
  const gpu = await testGpu();
  await withTensors(gpu, [3], async (runtime, recorder, x, y) => {
    recordAffine(recorder, x, y, 1);
    const reason = new Error("enough");
    await assertRejects(
      () => runtime.load([place(recorder)], { signal: AbortSignal.abort(reason) }),
      Error,
      "enough",
    );
    const later = new AbortController();
    const onProgress = () => later.abort(reason);
    const loading = runtime.load([place(recorder), place(recorder)], { signal: later.signal, onProgress });
    assertEquals((await loading).length, 2); // one kernel: nothing is left to be ended
    await assertRejects(() => runtime.load([place(recorder)], { signal: later.signal }), Error, "enough");
  });
});

Deno.test("clear() and copy() work on whole arenas", async () => {
  const gpu = await testGpu();
  const runtime = new Runtime(gpu);
  const arena = new Arena("weights", 512); // two buffers
  for (const name of ["a", "b", "c"]) arena.add(name, [50]);
  const twin = arena.like("copy");
  assertEquals(arena.buffers, [512, 256]);
  for (const each of [arena, twin]) await runtime.allocate(each);
  for (const [i, tensor] of arena.tensors.entries()) {
    runtime.write(
      tensor.whole(),
      ramp(50).map((v) => v + i),
    );
  }
  runtime.copy(arena, twin);
  runtime.clear(arena);
  for (const [i, tensor] of twin.tensors.entries()) {
    assertEquals(await runtime.read(tensor.whole()), ramp(50).map((value) => value + i));
    assertEquals(await runtime.read(arena.tensors[i].whole()), new Float32Array(50));
  }
  runtime.close();
});

Deno.test("profile() names every dispatch, where the adapter has timestamps", async () => {
  const gpu = await testGpu();
  await withTensors(gpu, [4], async (runtime, recorder, x, y) => {
    const middle = recorder.tensor("middle", [4]);
    recorder.segment("first", () => recordAffine(recorder, x, middle, 2));
    recorder.segment("second", () => recordAffine(recorder, middle, y, 1));
    const [program] = await runtime.load([place(recorder)]);
    if (!gpu.hasTimestamps) {
      await assertRejects(() => runtime.profile(program, {}), Error, "no timestamp queries");
      return;
    }
    const times = await runtime.profile(program, {});
    assertEquals(times.map(({ segment, kernel, flops }) => [segment, kernel, flops]), [
      ["first", affine.key, 8],
      ["second", affine.key, 8],
    ]);
    for (const { nanoseconds } of times) assert(nanoseconds >= 0);
  });
});
