import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import type { Access, Kernel } from "../../src/gpu/kernel.ts";
import { place, type Placement } from "../../src/gpu/place.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { Arena, type EngineLimits, type Slice, type Tensor } from "../../src/gpu/tensor.ts";
import { Stream, uniform } from "../../src/random.ts";

const LIMITS: EngineLimits = {
  maxBinding: 2 ** 20,
  maxBuffer: 2 ** 20,
  maxGroups: 65535,
  workgroupMemory: 2 ** 14,
  workgroupSize: 256,
  subgroupSize: 0,
  isSoftware: true,
};

/** A kernel with tensor slots a, b, ... of these accesses; placement looks at nothing else. */
function kernelOf(...accesses: Access[]): Kernel {
  const slots = accesses.map((access, i) => ({ name: "abcdefgh"[i], access }));
  return { key: accesses.join(" "), code: "", origins: [], slots, fields: [] };
}

/** Records a dispatch that reads some tensors and writes one. */
function step(recorder: Recorder, reads: (Tensor | Slice)[], out: Tensor | Slice, access: Access = "write") {
  const kernel = kernelOf(...reads.map((): Access => "read"), access);
  const tensors = Object.fromEntries([...reads, out].map((tensor, i) => ["abcdefgh"[i], tensor]));
  recorder.dispatch(kernel, { tensors, groups: 1 });
}

function sinkOf(arena: Arena, name = "sink"): Tensor {
  return arena.add(name, [4]);
}

Deno.test("place() lets a chain of tensors take turns in two buffers", () => {
  const recorder = new Recorder(LIMITS);
  const tensors = Array.from({ length: 6 }, (_, i) => recorder.tensor(`t${i}`, [100]));
  step(recorder, [], tensors[0]);
  for (let i = 1; i < 6; i++) step(recorder, [tensors[i - 1]], tensors[i]);
  step(recorder, [tensors[5]], sinkOf(new Arena("out", 4096)));
  assertEquals(place(recorder).bufferBytes, [512, 512]); // 400 bytes, aligned
});

Deno.test("place() keeps apart what a dispatch reads and writes, and what is read later", () => {
  const recorder = new Recorder(LIMITS);
  const [x, y, z] = ["x", "y", "z"].map((name) => recorder.tensor(name, [4]));
  step(recorder, [], x);
  step(recorder, [x], y);
  step(recorder, [y], z);
  step(recorder, [x, z], sinkOf(new Arena("out", 4096)));
  const placement = place(recorder);
  const at = (tensor: Tensor, index: number) => placement.bufferOf(tensor.whole(), index);
  assertEquals(placement.bufferBytes.length, 3);
  assertNotEquals(at(x, 1), at(y, 1));
  assertNotEquals(at(y, 2), at(z, 2));
  assertEquals(at(x, 0), at(x, 3));
});

Deno.test("place() drops dispatches that nobody needs, and those only they needed", () => {
  const recorder = new Recorder(LIMITS);
  const [x, unread, alsoUnread] = ["x", "unread", "also unread"].map((name) => recorder.tensor(name, [4]));
  const sink = sinkOf(new Arena("out", 4096));
  recorder.segment("kept", () => step(recorder, [], x));
  recorder.segment("dropped", () => {
    step(recorder, [x], unread);
    step(recorder, [unread], alsoUnread);
  });
  recorder.segment("sink", () => step(recorder, [x], sink));
  const placement = place(recorder);
  assertEquals(placement.segments.map(({ name, dispatches }) => [name, dispatches.length]), [["kept", 1], [
    "sink",
    1,
  ]]);
  assertThrows(() => placement.bufferOf(unread.whole(), 1), Error, "unread is read before it is written");
});

Deno.test("place() gives what repeat() computes again a new life", () => {
  const recorder = new Recorder(LIMITS);
  const arena = new Arena("out", 4096);
  const [x, h, y, z] = ["x", "h", "y", "z"].map((name) => recorder.tensor(name, [64]));
  step(recorder, [], x);
  recorder.segment("block", () => {
    step(recorder, [x], h);
    step(recorder, [h], y);
  });
  const block = recorder.segments.at(-1)!;
  recorder.segment("head", () => {
    step(recorder, [y], z);
    step(recorder, [y, z], sinkOf(arena, "loss"));
  });
  recorder.segment("block backward", () => {
    recorder.repeat(block);
    step(recorder, [h], sinkOf(arena, "gradient"));
  });
  const placement = place(recorder);
  // x; h, y; z, the loss; h once more, but not y, and the gradient.
  assertEquals(placement.segments.map(({ dispatches }) => dispatches.length), [1, 2, 2, 2]);
  assertEquals(placement.bufferBytes.length, 3, "z takes the place of h, which is computed again later");
});

Deno.test("place() refuses a tensor that is used before it is written", () => {
  const recorder = new Recorder(LIMITS);
  const x = recorder.tensor("x", [4]);
  step(recorder, [x], sinkOf(new Arena("out", 4096)));
  assertThrows(() => place(recorder), Error, "x is read before it is written");

  const adding = new Recorder(LIMITS);
  step(adding, [], x, "read_write");
  step(adding, [x], sinkOf(new Arena("out", 4096)));
  assertThrows(() => place(adding), Error, "x is read before it is written");
});

Deno.test("dispatch() wants exactly the tensors and uniforms that the kernel declares", () => {
  const recorder = new Recorder(LIMITS);
  const kernel: Kernel = { ...kernelOf("read"), fields: [{ name: "n", type: "u32" }] };
  const a = recorder.tensor("a", [1]);
  const record = (tensors: Record<string, Tensor>, uniforms: Record<string, number>) => () =>
    recorder.dispatch(kernel, { tensors, uniforms, groups: 1 });
  assertThrows(record({}, { n: 1 }), Error, "no tensor a");
  assertThrows(record({ a }, {}), Error, "no uniform n");
  assertThrows(record({ a, z: a }, { n: 1 }), Error, "declares no z");
  assertThrows(record({ a }, { n: 1, z: 2 }), Error, "declares no z");
  record({ a }, { n: 1 })();
});

/** The same random program for the same seed: windows, in-place updates, scratch that is reused, repeated segments. */
function randomProgram(seed: number): { recorder: Recorder; sinks: Tensor[] } {
  let draws = 0;
  const below = (n: number) => Math.floor(uniform(seed, Stream.test, 0, draws++) * n);
  const recorder = new Recorder(LIMITS);
  const arena = new Arena("sinks", 2 ** 20);
  const written: Tensor[] = [];
  const pick = () => written[below(written.length)];
  const reads = (not: Tensor) =>
    Array.from({ length: below(3) }, pick).filter((tensor, i, all) =>
      tensor !== undefined && tensor !== not && all.indexOf(tensor) === i
    );
  /** Writes all of a tensor, in one piece or in two. */
  function write(tensor: Tensor) {
    const rows = tensor.shape[0];
    const cut = below(2) === 0 ? rows : 1 + below(rows);
    step(recorder, reads(tensor), tensor.rows(0, cut));
    if (cut < rows) step(recorder, reads(tensor), tensor.rows(cut, rows));
    if (!written.includes(tensor)) written.push(tensor);
  }
  for (let s = 0; s < 6; s++) {
    const earlier = recorder.segments.slice();
    recorder.segment(`segment ${s}`, () => {
      if (earlier.length > 0 && below(2) === 0) recorder.repeat(earlier[below(earlier.length)]);
      for (let i = below(5); i >= 0; i--) {
        const action = below(6);
        if (written.length === 0 || action < 3) {
          write(recorder.tensor(`t${draws}`, [1 + below(3), 64 * (1 + below(3))]));
        } else if (action === 3) write(pick());
        else if (action === 4) {
          const target = pick();
          step(recorder, reads(target), target, "read_write");
        } else step(recorder, [pick()], arena.add(`sink ${draws}`, [1, 64]));
      }
    });
  }
  for (const tensor of written) if (below(3) === 0) step(recorder, [tensor], arena.add("sink", [1, 64]));
  return { recorder, sinks: [...arena.tensors] };
}

/** Runs a program on numbers that tell values apart: `bufferOf` says where a tensor lies, by a key. */
function simulate<K>(
  segments: Placement["segments"],
  bufferOf: (slice: Slice, index: number) => K,
): Map<K, number[]> {
  const memory = new Map<K, number[]>();
  let index = 0;
  for (const { kernel, slices } of segments.flatMap(({ dispatches }) => dispatches)) {
    const places = slices.map((slice) => bufferOf(slice, index));
    const read = (i: number) =>
      Array.from({ length: slices[i].length }, (_, e) => memory.get(places[i])?.[slices[i].at + e] ?? -1);
    let hash = 17;
    kernel.slots.forEach(({ access }, i) => {
      if (access === "write") return;
      for (const value of read(i)) hash = (Math.imul(hash, 31) + value) | 0;
    });
    kernel.slots.forEach(({ access }, i) => {
      if (access === "read") return;
      places.forEach((other, k) => assert(k === i || other !== places[i], "a dispatch binds a buffer twice"));
      const buffer = memory.get(places[i]) ?? [];
      memory.set(places[i], buffer);
      for (let e = 0; e < slices[i].length; e++) buffer[slices[i].at + e] = (Math.imul(hash, 31) + e) | 0;
    });
    index++;
  }
  return memory;
}

Deno.test("place() changes no result of random programs, compared with a buffer for each tensor", () => {
  let pooled = 0;
  let separate = 0;
  for (let seed = 0; seed < 300; seed++) {
    const { recorder, sinks } = randomProgram(seed);
    const expected = simulate(recorder.segments, ({ tensor }) => tensor);
    const placement = place(recorder);
    const found = simulate<Tensor | number>(
      placement.segments,
      (slice, index) => slice.tensor.place === null ? placement.bufferOf(slice, index) : slice.tensor,
    );
    for (const sink of sinks) assertEquals(found.get(sink), expected.get(sink), `seed ${seed}: ${sink.name}`);
    pooled += placement.bufferBytes.length;
    separate += new Set([...expected.keys()].filter((tensor) => tensor.place === null)).size;
    for (const { dispatches } of placement.segments) {
      for (const { slices } of dispatches) {
        for (const { tensor } of slices) {
          if (tensor.place !== null) continue;
          assert(placement.bufferBytes.some((bytes) => bytes >= tensor.bytes), "a tensor fits no buffer");
        }
      }
    }
  }
  assert(pooled < 0.6 * separate, `${pooled} buffers for ${separate} tensors`);
});
