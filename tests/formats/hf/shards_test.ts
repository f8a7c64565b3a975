import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../../src/errors.ts";
import { parseByteSize, shard } from "../../../src/formats/hf/shards.ts";
import type { TensorToWrite } from "../../../src/formats/safetensors.ts";

const tensor = (name: string, elements: number): TensorToWrite => ({
  name,
  shape: [elements],
  dtype: "F32",
  values: () => Promise.resolve(new Float32Array(elements)),
});

Deno.test("shard() fills files in order, and gives a large tensor one of its own", () => {
  const tensors = [tensor("a", 2), tensor("b", 3), tensor("c", 9), tensor("d", 1), tensor("e", 4)];
  const names = (maxBytes: number) => {
    const { files, index } = shard(tensors, maxBytes);
    return { files: [...files].map(([file, part]) => [file, part.map(({ name }) => name).join("")]), index };
  };
  assertEquals(names(20).files, [
    ["model-00001-of-00003.safetensors", "ab"],
    ["model-00002-of-00003.safetensors", "c"],
    ["model-00003-of-00003.safetensors", "de"],
  ]);
  const index = JSON.parse(names(20).index!);
  assertEquals(index.metadata, { total_size: 76 });
  assertEquals(index.weight_map.d, "model-00003-of-00003.safetensors");
  assertEquals(Object.keys(index.weight_map).length, 5);
  assertEquals(names(76), { files: [["model.safetensors", "abcde"]], index: null });
  assertEquals(names(1).files.length, 5);
});

Deno.test("parseByteSize() reads decimal and binary units", () => {
  assertEquals(["5GB", "500 MB", "2GiB", "1.5kb", "70", "70B"].map(parseByteSize), [
    ...[5e9, 5e8, 2 ** 31, 1500, 70, 70],
  ]);
  for (const text of ["", "GB", "-1GB", "5 apples", "0", "1e9"]) {
    assertThrows(() => parseByteSize(text), UserError, "expected one such as");
  }
});
