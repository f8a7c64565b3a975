import { assert } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import type { ModelSpec } from "../../src/config/deriveModel.ts";
import type { HfFamily } from "../../src/formats/hf/family.ts";
import { sizeOf } from "../../src/formats/hf/tensors.ts";
import { formatHfConfig } from "../../src/formats/hf/write.ts";
import { familyOf, specOf } from "../formats/hf/support.ts";
import { inTempDir } from "../formats/support.ts";

const MiB = 2 ** 20;
/** A LLaMA of 129 MiB. */
const SPEC: ModelSpec = {
  ...specOf("llama"),
  ...{ numLayers: 1, modelDim: 1024, numHeads: 8, numKvHeads: 8, headDim: 128 },
  ...{ ffnDim: 6144, vocabSize: 5120 },
};
const LARGEST_TENSOR = 4 * SPEC.ffnDim * SPEC.modelDim;
const LARGEST_PARAMETER = 2 * LARGEST_TENSOR; // gate and projection

/** A model whose values are all 0, in a file that takes no room on the disk. */
function writeZeros(folder: string, family: HfFamily): void {
  let bytes = 0;
  const entries = family.tensors(SPEC).flatMap(({ pieces }) => pieces).map(({ name, shape }) => {
    const begin = bytes;
    bytes += 4 * sizeOf(shape);
    return [name, { dtype: "F32", shape, data_offsets: [begin, bytes] }];
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  const path = join(folder, "model.safetensors");
  Deno.writeFileSync(path, new Uint8Array([...length, ...header]));
  Deno.truncateSync(path, length.length + header.length + bytes);
  Deno.writeTextFileSync(join(folder, "config.json"), formatHfConfig(family, SPEC, {}, "F32"));
}

async function peakBytes(...args: string[]): Promise<number> {
  const script = fromFileUrl(new URL("peakMemory.ts", import.meta.url));
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, ...args],
  })
    .output();
  assert(success, new TextDecoder().decode(stderr));
  const peak = Number(new TextDecoder().decode(stdout));
  assert(peak > 0);
  return peak;
}

Deno.test({
  name:
    "memory stays below two tensors of the file in importModel(), and near one parameter in loadWeights()",
  ignore: Deno.build.os !== "linux", // which tells a process' peak
  fn: () =>
    inTempDir(async (folder) => {
      writeZeros(folder, familyOf("llama"));
      const imported = await peakBytes("import", folder, join(folder, "imported"));
      assert(imported < 2 * LARGEST_TENSOR, `importing took ${imported / MiB} MiB`);
      const loaded = await peakBytes("load", folder);
      assert(loaded < LARGEST_PARAMETER + 32 * MiB, `loading took ${loaded / MiB} MiB`);
    }),
});
