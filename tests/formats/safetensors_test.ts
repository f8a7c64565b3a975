import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { createHash } from "node:crypto";
import { UserError } from "../../src/errors.ts";
import {
  type Dtype,
  encodeSafetensors,
  openModelFolder,
  openSafetensors,
  parseSafetensors,
  type StreamedTensor,
  type TensorSource,
  type TensorToWrite,
  writeSafetensors,
} from "../../src/formats/safetensors.ts";
import { FIXTURES, inTempDir, modelFolders } from "./support.ts";

const GPT2 = join(FIXTURES, "hf/gpt2/model.safetensors");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Tensors of `source` as tensors to write. */
function copies(source: TensorSource, names: Iterable<string> = source.tensors.keys()): TensorToWrite[] {
  return Array.from(names, (name) => {
    const { dtype, shape } = source.tensors.get(name)!;
    return { name, dtype, shape, values: () => Promise.resolve(source.readBytes(name)) };
  });
}

function tensor(name: string, dtype: Dtype, shape: number[], values: ArrayLike<number>): TensorToWrite {
  return { name, dtype, shape, values: () => Promise.resolve(Uint8Array.from(values)) };
}

Deno.test("openSafetensors() reads every file of the reference data", () => {
  const folders = modelFolders();
  assertEquals(folders.length, 16);
  for (const folder of folders) {
    using model = openSafetensors(join(folder, "model.safetensors"));
    using reference = openSafetensors(join(folder, "reference.safetensors"));
    for (const [name, { shape }] of model.tensors) {
      const values = model.read(name);
      assertEquals(values.length, shape.reduce((a, b) => a * b, 1));
      assertEquals(values.every(Number.isFinite), true, `${folder} ${name}`);
      assertEquals(reference.tensors.get(`grad.${name}`)?.shape, shape);
    }
    assertEquals(reference.tensors.get("loss")?.shape, []);
    assertEquals(reference.read("losses")[0], reference.read("loss")[0]);
    assertEquals(reference.readInt("labels").includes(-100), true);
  }
});

Deno.test("parseSafetensors() reads from memory what openSafetensors() reads from the file", () => {
  const bytes = Deno.readFileSync(GPT2);
  const shifted = new Uint8Array(bytes.length + 3).subarray(3); // at an offset that is aligned to nothing
  shifted.set(bytes);
  using file = openSafetensors(GPT2);
  using memory = parseSafetensors(shifted);
  assertEquals(memory.tensors, file.tensors);
  for (const name of file.tensors.keys()) assertEquals(memory.read(name), file.read(name));
});

Deno.test("writeSafetensors() copies a file bit for bit and returns its digests", () =>
  inTempDir(async (folder) => {
    using original = openSafetensors(join(FIXTURES, "hf/gpt2/reference.safetensors"));
    const path = join(folder, "copy.safetensors");
    const metadata = { format: "pt", "naïve ☃": '"quoted"\n', ["__proto__"]: "a key like any other" };
    const digests = await writeSafetensors(path, copies(original), metadata);
    const bytes = Deno.readFileSync(path);
    assertEquals(digests.file, sha256(bytes));
    assertEquals(await encodeSafetensors(copies(original), metadata), bytes);
    using copy = openSafetensors(path);
    assertEquals(copy.metadata, metadata);
    assertEquals([...copy.tensors].sort(), [...original.tensors].sort());
    for (const name of original.tensors.keys()) {
      assertEquals(copy.readBytes(name), original.readBytes(name));
      assertEquals(digests.tensors.get(name), sha256(original.readBytes(name)));
    }
  }));

Deno.test("writeSafetensors() hashes and writes a tensor that takes several chunks", () =>
  inTempDir(async (folder) => {
    const values = Float32Array.from({ length: 2 ** 22 + 3 }, (_, i) => i); // 16 MiB and a bit
    const path = join(folder, "large.safetensors");
    const shape = [values.length];
    const digests = await writeSafetensors(path, [
      { name: "x", dtype: "F32", shape, values: () => Promise.resolve(values) },
    ]);
    using copy = openSafetensors(path);
    assertEquals(sha256(copy.readBytes("x")), sha256(new Uint8Array(values.buffer)));
    assertEquals(digests.tensors.get("x"), sha256(new Uint8Array(values.buffer)));
    assertEquals(digests.file, sha256(Deno.readFileSync(path)));
  }));

Deno.test("readParts() and readByteParts() give a tensor in parts, which writeSafetensors() writes", () =>
  inTempDir(async (folder) => {
    const shape = [2 ** 19 + 3]; // 2 MiB and a bit
    const values = Float32Array.from({ length: shape[0] }, (_, i) => i);
    const path = join(folder, "parts.safetensors");
    await writeSafetensors(path, [
      {
        name: "wide",
        dtype: "F64",
        shape,
        values: () => Promise.resolve(bytesOf(Float64Array.from(values))),
      },
      { name: "single", dtype: "F32", shape, values: () => Promise.resolve(values) },
      {
        name: "half",
        dtype: "F16",
        shape,
        values: () => Promise.resolve(bytesOf(Float16Array.from(values))),
      },
      { name: "whole", dtype: "I64", shape: [1], values: () => Promise.resolve(new Uint8Array(8)) },
      { name: "none", dtype: "F32", shape: [0], values: () => Promise.resolve(new Float32Array(0)) },
    ]);
    using source = openSafetensors(path);
    const parts = [...source.tensors].map(([name, { dtype, shape }]): StreamedTensor => ({
      ...{ name, dtype, shape },
      values: () => Promise.resolve(source.readByteParts(name)),
    }));
    const copy = join(folder, "copy.safetensors");
    await writeSafetensors(copy, parts);
    assertEquals(sha256(Deno.readFileSync(copy)), sha256(Deno.readFileSync(path)));
    for (const name of ["wide", "single", "half", "none"]) {
      const expected = source.read(name);
      let at = 0;
      for (const part of source.readParts(name)) {
        assertEquals(sha256(bytesOf(part)), sha256(bytesOf(expected.slice(at, at + part.length))), name);
        at += part.length;
      }
      assertEquals(at, expected.length);
    }
    const sizes = Array.from(source.readByteParts("single"), ({ byteLength }) => byteLength);
    assertEquals(sizes, [2 ** 20, 2 ** 20, 12]);
    assertThrows(() => [...source.readParts("whole")], UserError, "is I64, expected one of F32");
    assertThrows(() => [...source.readByteParts("other")], UserError, 'has no tensor "other"');
  }));

Deno.test("encodeSafetensors() aligns the header and every tensor", async () => {
  const tensors = [
    tensor("odd", "U8", [3], [1, 2, 3]),
    tensor("half", "F16", [1], [0, 60]),
    tensor("wide", "F64", [1], [0, 0, 0, 0, 0, 0, 240, 63]),
    tensor("none", "F32", [2, 0, 3], []),
    tensor("single", "F32", [], [0, 0, 192, 63]),
  ];
  const encoded = await encodeSafetensors(tensors);
  const headerBytes = Number(new DataView(encoded.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(encoded.subarray(8, 8 + headerBytes)));
  assertEquals(headerBytes % 8, 0);
  assertEquals(header.wide.data_offsets, [0, 8]);
  assertEquals(header.single.data_offsets, [8, 12]);
  assertEquals(header.half.data_offsets, [12, 14]);
  assertEquals(header.odd.data_offsets, [14, 17]);
  using decoded = parseSafetensors(encoded);
  assertEquals(decoded.tensors.get("none"), { dtype: "F32", shape: [2, 0, 3], byteLength: 0 });
  assertEquals([...decoded.read("none")], []);
  assertEquals([...decoded.read("single")], [1.5]);
  assertEquals([...decoded.read("half")], [1]);
});

Deno.test("encodeSafetensors() of no tensors is a file that can be read", async () => {
  using file = parseSafetensors(await encodeSafetensors([]));
  assertEquals(file.tensors.size, 0);
  assertEquals(file.metadata, {});
});

Deno.test("encodeSafetensors() refuses values that don't fit, and names used twice", async () => {
  await assertRejects(() => encodeSafetensors([tensor("x", "F32", [2], [0, 0, 0, 0])]), Error, "8 bytes");
  const parts = (...sizes: number[]): StreamedTensor => ({
    ...{ name: "x", dtype: "U8", shape: [3] },
    values: () => Promise.resolve(sizes.map((size) => new Uint8Array(size))),
  });
  assertEquals((await encodeSafetensors([parts(2, 1)])).byteLength % 8, 3);
  await assertRejects(() => encodeSafetensors([parts(1, 1)]), Error, "(3 bytes), its values have 2");
  await assertRejects(() => encodeSafetensors([parts(2, 2)]), Error, "(3 bytes), its values have more");
  const floats = () => Promise.resolve(new Float32Array(1));
  await assertRejects(
    () => encodeSafetensors([{ name: "x", dtype: "I32", shape: [1], values: floats }]),
    Error,
    "I32",
  );
  const twice = [tensor("x", "U8", [], [1]), tensor("x", "U8", [], [1])];
  await assertRejects(() => encodeSafetensors(twice), Error, "twice");
  await assertRejects(() => encodeSafetensors([tensor("__metadata__", "U8", [], [1])]), Error, "reserved");
});

Deno.test("read() converts each float dtype", async () => {
  using file = parseSafetensors(
    await encodeSafetensors([
      // 1.5, -2, the smallest subnormal, infinity
      tensor("F16", "F16", [4], [0x00, 0x3e, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c]),
      // 1.5, -2, the smallest normal, NaN
      tensor("BF16", "BF16", [4], [0xc0, 0x3f, 0x00, 0xc0, 0x80, 0x00, 0xc0, 0x7f]),
      tensor("F32", "F32", [1, 2], new Uint8Array(new Float32Array([-0, 3.25]).buffer)),
      tensor("F64", "F64", [2], new Uint8Array(new Float64Array([0.1, -1e-300]).buffer)),
      tensor("I32", "I32", [1], [1, 0, 0, 0]),
    ]),
  );
  assertEquals([...file.read("F16")], [1.5, -2, 2 ** -24, Infinity]);
  assertEquals([...file.read("BF16")], [1.5, -2, 2 ** -126, NaN]);
  assertEquals([...file.read("F32")], [-0, 3.25]);
  assertEquals([...file.read("F64")], [Math.fround(0.1), -0]);
  assertThrows(() => file.read("I32"), UserError, "is I32, expected one of F32, F16, BF16, F64");
});

Deno.test("readInt() converts each integer dtype, and refuses what 32 bits don't hold", async () => {
  const int64 = (...values: bigint[]) => new Uint8Array(new BigInt64Array(values).buffer);
  using file = parseSafetensors(
    await encodeSafetensors([
      tensor("I64", "I64", [4], int64(0n, -100n, 2n ** 31n - 1n, -(2n ** 31n))),
      tensor("large", "I64", [2], int64(5n, 2n ** 31n)),
      tensor("small", "I64", [1], int64(-(2n ** 31n) - 1n)),
      tensor("I32", "I32", [2], new Uint8Array(new Int32Array([-1, 7]).buffer)),
      tensor("U8", "U8", [2], [0, 255]),
      tensor("BOOL", "BOOL", [2], [1, 0]),
      tensor("F32", "F32", [], [0, 0, 0, 0]),
    ]),
  );
  assertEquals([...file.readInt("I64")], [0, -100, 2147483647, -2147483648]);
  assertEquals([...file.readInt("I32")], [-1, 7]);
  assertEquals([...file.readInt("U8")], [0, 255]);
  assertEquals([...file.readInt("BOOL")], [1, 0]);
  assertThrows(() => file.readInt("large"), UserError, "element 1 is 2147483648");
  assertThrows(() => file.readInt("small"), UserError, "element 0 is -2147483649");
  assertThrows(() => file.readInt("F32"), UserError, "is F32, expected one of I64, I32, U8, BOOL");
  assertThrows(() => file.readBytes("absent"), UserError, 'no tensor "absent"');
});

Deno.test("openModelFolder() reads shards as one file", () =>
  inTempDir(async (folder) => {
    using whole = openModelFolder(join(FIXTURES, "hf/gpt2"));
    const names = [...whole.tensors.keys()];
    const shards = {
      "model-00001-of-00002.safetensors": names.slice(0, 5),
      "model-00002-of-00002.safetensors": names.slice(5),
    };
    const weightMap: Record<string, string> = {};
    for (const [shard, held] of Object.entries(shards)) {
      await writeSafetensors(join(folder, shard), copies(whole, held), { format: "pt" });
      for (const name of held) weightMap[name] = shard;
    }
    const index = { metadata: { total_size: 1, tied: true }, weight_map: weightMap };
    Deno.writeTextFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index, null, 2));
    using sharded = openModelFolder(folder);
    assertEquals(sharded.tensors, whole.tensors);
    assertEquals(sharded.metadata, { format: "pt" });
    for (const name of names) assertEquals(sharded.read(name), whole.read(name));
    assertThrows(() => sharded.read("absent"), UserError, 'no tensor "absent"');
  }));
