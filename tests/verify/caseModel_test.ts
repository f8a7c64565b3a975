import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import type { Batch } from "../../src/data/batch.ts";
import { UserError } from "../../src/errors.ts";
import {
  encodeSafetensors,
  openModelFolder,
  openSafetensors,
  parseSafetensors,
  type TensorToWrite,
} from "../../src/formats/safetensors.ts";
import { readCaseBatch } from "../../src/verify/caseBatch.ts";
import { type CaseModel, readCaseModel } from "../../src/verify/caseModel.ts";
import { modelFolders, readJson } from "../formats/support.ts";
import { FIXTURES } from "./brokenCopies.ts";

function modelOf(folder: string, file = "config.json"): CaseModel {
  using source = openModelFolder(folder);
  return readCaseModel(readJson(folder.slice(FIXTURES.length), file), (name) => source.tensors.has(name));
}

function batchOf(name: string): { batch: Batch; model: CaseModel } {
  const model = modelOf(join(FIXTURES, name));
  using reference = openSafetensors(join(FIXTURES, name, "reference.safetensors"));
  return { batch: readCaseBatch(reference, model), model };
}

/** The columns that a token sees, as [from, to). */
function span(spans: Uint32Array | undefined, at: number): number[] {
  return [...spans!.subarray(2 * at, 2 * at + 2)];
}

for (const folder of modelFolders()) {
  const name = folder.slice(FIXTURES.length + 1);
  Deno.test(`readCaseModel() knows every tensor of ${name}`, () => {
    const model = modelOf(folder);
    using source = openModelFolder(folder);
    using reference = openSafetensors(join(folder, "reference.safetensors"));
    const weights = new Map([...model.weights(source)].map(({ name, values }) => [name, values]));
    assertEquals(new Set(model.tensors.map(({ fileName }) => fileName)), new Set(source.tensors.keys()));
    for (const { name, fileName, shape, toFile } of model.tensors) {
      assertEquals([...reference.tensors.get(`grad.${fileName}`)!.shape], [...shape], fileName);
      assertEquals(toFile(weights.get(name)!).slice(), source.read(fileName), fileName);
    }
    const { rows, columns, targets } = readCaseBatch(reference, model);
    assertEquals(reference.tensors.get("logits")?.shape, [rows, columns, model.spec.vocabSize]);
    assertEquals(targets.length, rows * columns);
    assertEquals([model.spec.dropout, model.spec.attentionDropout], [0, 0]);
    if (name.startsWith("hf/")) assertEquals(modelOf(folder, "config.alt.json").spec, model.spec);
  });
}

Deno.test("readCaseModel() reads the options of the study", () => {
  const spec = (name: string) => modelOf(join(FIXTURES, "study", name)).spec;
  const prefix = spec("rotary-relu-prefix");
  assertEquals([prefix.architecture, prefix.numKvHeads, prefix.normEps], ["nonCausalDecoder", 2, 1e-6]);
  assertEquals([prefix.norm, prefix.bias, prefix.tied, prefix.headDim], ["rmsnorm", false, false, 8]);
  const banded = modelOf(join(FIXTURES, "study/sinusoidal-erf-packed-banded"));
  assertEquals([banded.spec.attention, banded.spec.window, banded.spec.embeddingNorm], ["banded", 5, true]);
  assertEquals(banded.packing, { separate: true, restartPositions: true });
  assertEquals(modelOf(join(FIXTURES, "study/learned-swiglu-packed")).packing, {
    separate: true,
    restartPositions: false,
  });
  assert(spec("alibi-swiglu-embnorm").zLoss > 0);
  assertEquals(spec("gptj-silu-parallel").parallelResidual, true);
});

Deno.test("readCaseModel() refuses what it can't read", () => {
  const none = () => false;
  const study = Object(readJson("study/learned-gelu/config.json"));
  assertThrows(() => readCaseModel({ model_type: "mamba" }, none), UserError, 'model_type is "mamba"');
  assertThrows(() => readCaseModel([], none), UserError, "expected object");
  assertThrows(() => readCaseModel({ ...study, positions: "xpos" }, none), UserError, 'positions is "xpos"');
});

Deno.test("readCaseBatch() lets a prefix see itself", () => {
  const { batch } = batchOf("study/rotary-relu-prefix"); // prefixes 9 and 17 of 24
  assertEquals([span(batch.spans, 0), span(batch.spans, 8), span(batch.spans, 9)], [[0, 9], [0, 9], [0, 10]]);
  assertEquals([span(batch.spans, 24), span(batch.spans, 40), span(batch.spans, 47)], [[0, 17], [0, 17], [
    0,
    24,
  ]]);
  assertEquals([batch.places, batch.source], [undefined, undefined]);
});

Deno.test("readCaseBatch() keeps packed documents apart", () => {
  const restarted = batchOf("study/sinusoidal-erf-packed-banded").batch;
  const goingOn = batchOf("study/learned-swiglu-packed").batch;
  assertEquals(goingOn.places, undefined);
  for (
    const [name, batch] of [["sinusoidal-erf-packed-banded", restarted], [
      "learned-swiglu-packed",
      goingOn,
    ]] as const
  ) {
    using reference = openSafetensors(join(FIXTURES, "study", name, "reference.safetensors"));
    const ids = reference.readInt("doc_ids");
    const T = batch.columns;
    for (let at = 0; at < ids.length; at++) {
      const row = ids.subarray(at - at % T, at - at % T + T);
      const [from, to] = span(batch.spans, at);
      assertEquals(to, at % T + 1);
      row.forEach((id, column) => {
        if (column < to) assertEquals(id === ids[at], column >= from);
      });
      if (batch.places !== undefined) assertEquals(batch.places[at], at % T - from);
    }
    assert(new Set(ids).size > 1);
  }
  const { batch } = batchOf("study/learned-gelu");
  assertEquals([batch.spans, batch.places, batch.source], [undefined, undefined, undefined]);
});

Deno.test("readCaseBatch() gives T5's encoder its rows without their padding", () => {
  const { batch } = batchOf("hf/t5_v1_1");
  using reference = openSafetensors(join(FIXTURES, "hf/t5_v1_1/reference.safetensors"));
  assertEquals(batch.inputs, reference.readInt("decoder_input_ids"));
  const { source } = batch;
  assertEquals([batch.columns, source?.columns], [20, 23]);
  assertEquals(source?.inputs, reference.readInt("input_ids"));
  const mask = reference.readInt("attention_mask");
  for (let row = 0; row < 2; row++) {
    const length = mask.subarray(23 * row, 23 * row + 23).reduce((sum, bit) => sum + bit, 0);
    for (const column of [0, 22]) assertEquals(span(source?.spans, 23 * row + column), [0, length]);
    for (const column of [0, 19]) assertEquals(span(source?.crossSpans, 20 * row + column), [0, length]);
  }
});

Deno.test("readCaseBatch() refuses tensors that can't be", async () => {
  const refuse = async (name: string, changes: Record<string, number[]>, message: string) => {
    const model = modelOf(join(FIXTURES, name));
    using source = openSafetensors(join(FIXTURES, name, "reference.safetensors"));
    const wanted = [...source.tensors].filter(([tensor]) => !/^(grad|final|logits)/.test(tensor));
    const tensors = wanted.map(([tensor, { shape, dtype }]): TensorToWrite => ({
      ...{ name: tensor, shape, dtype },
      values() {
        const bytes = source.readBytes(tensor);
        for (const [at, value] of (changes[tensor] ?? []).entries()) new Int32Array(bytes.buffer)[at] = value;
        return Promise.resolve(bytes);
      },
    }));
    using damaged = parseSafetensors(await encodeSafetensors(tensors));
    assertThrows(() => readCaseBatch(damaged, model), UserError, message);
  };
  await refuse(
    "study/rotary-relu-prefix",
    { prefix_len: [25] },
    '"prefix_len" of "safetensors bytes" holds 25 at 0',
  );
  await refuse("study/learned-swiglu-packed", { doc_ids: [0, 1, 0] }, "has document 0 in two places");
  await refuse("hf/t5_v1_1", { attention_mask: [1, 0, 1] }, 'Row 0 of "attention_mask"');
  await refuse("hf/t5_v1_1", { attention_mask: Array(23).fill(0) }, "is no run of 1 with 0 behind it");
  await refuse("hf/t5_v1_1", { attention_mask: [2] }, "holds 2 at 0, expected 0 to 1");
  await refuse("hf/t5_v1_1", { decoder_input_ids: [103] }, "holds the id 103");
});
