import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { countTargets, IGNORE, sliceBatch } from "../../src/data/batch.ts";
import { type Dataset, type DatasetOptions, openDataset, openKeptDataset } from "../../src/data/dataset.ts";
import { trainChars } from "../../src/data/tokenizers/chars.ts";
import { UserError } from "../../src/errors.ts";
import { ENGLISH } from "./tokenizers/testTexts.ts";

const TEXT = ENGLISH.repeat(4);
const T = 13;

function open(changes: Partial<DatasetOptions> = {}): Promise<Dataset> {
  return openDataset({
    data: { text: TEXT },
    tokenizer: "bytes",
    bpeVocabSize: 300,
    seqLen: T,
    seed: 1,
    validationFraction: 0.1,
    folder: null,
    ...changes,
  });
}

async function withFolder(test: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const utf8 = (text: string) => new TextEncoder().encode(text);

Deno.test("openDataset() holds out the same end of the text, whatever the tokenizer", async () => {
  const bytes = utf8(TEXT);
  const [a, b, c] = await Promise.all([open(), open({ tokenizer: "chars" }), open({ tokenizer: "bpe" })]);
  assertEquals(a.trainTokens, Math.floor(bytes.length * 0.9));
  for (const dataset of [a, b, c]) {
    assertEquals(dataset.text("validation"), a.text("validation"));
    assertEquals([...dataset.text("train"), ...dataset.text("validation")], [...bytes]);
    const first = dataset.tokenizer.bytesOf(dataset.validationBatch(0, 1).inputs[0]).length;
    assertEquals(dataset.validationBytes, a.validationTokens - first);
    assertAlmostEquals(
      dataset.bytesPerToken,
      dataset.validationBytes / (dataset.validationTokens - 1),
      1e-12,
    );
  }
});

Deno.test("openDataset() cuts at a character boundary", async () => {
  for (const fraction of [0.1, 0.13, 0.2, 0.31, 0.5]) {
    const dataset = await open({ data: { text: "🙂é".repeat(40) }, validationFraction: fraction });
    const train = new TextDecoder("utf-8", { fatal: true }).decode(dataset.text("train"));
    assert("🙂é".repeat(40).startsWith(train));
  }
});

Deno.test("batch() gives windows of the training part with targets moved by one", async () => {
  const dataset = await open({ tokenizer: "bpe" });
  const train = dataset.tokenizer.encode(new TextDecoder().decode(dataset.text("train")));
  assertEquals(train.length, dataset.trainTokens);
  const { inputs, targets, sampleIds, rows, columns } = dataset.batch(0, dataset.samplesPerEpoch);
  assertEquals([rows, columns], [dataset.samplesPerEpoch, T]);
  assertEquals([...sampleIds], Array.from({ length: rows }, (_, i) => i));
  const windows = new Set<number>();
  for (let row = 0; row < rows; row++) {
    const window = [...inputs.subarray(row * T, (row + 1) * T), targets[row * T + T - 1]]; // (T + 1)
    assertEquals([...targets.subarray(row * T, (row + 1) * T)], window.slice(1));
    for (let start = 0; start + T < train.length; start += T) {
      if (window.every((id, i) => id === train[start + i])) windows.add(start);
    }
  }
  assertEquals(windows.size, rows); // the windows of epoch 0 start at multiples of T: they overlap by one token
});

Deno.test("batch() gives a sample the same row in any batch, and ids modulo 2^32", async () => {
  const dataset = await open();
  const five = dataset.batch(1000, 5);
  for (let i = 0; i < 5; i++) {
    assertEquals(dataset.batch(1000 + i, 1).inputs, five.inputs.slice(i * T, (i + 1) * T));
  }
  assertEquals([...dataset.batch(2 ** 32 - 1, 2).sampleIds], [2 ** 32 - 1, 0]);
  assertNotEquals((await open({ seed: 2 })).batch(0, 5).inputs, dataset.batch(0, 5).inputs);
});

Deno.test("validationBatch() scores every held-out token but the first once", async () => {
  for (const seqLen of [1, 3, 65, 97]) {
    const dataset = await open({ tokenizer: "bpe", seqLen });
    const held: number[] = [];
    for (let row = 0; row < dataset.validationRows; row += 2) {
      const batch = dataset.validationBatch(row, Math.min(2, dataset.validationRows - row));
      if (row === 0) held.push(batch.inputs[0]);
      held.push(...[...batch.targets].filter((id) => id !== IGNORE));
    }
    assertEquals(held.length, dataset.validationTokens);
    assertEquals(utf8(dataset.tokenizer.decode(held)), dataset.text("validation"));
    const last = dataset.validationBatch(dataset.validationRows - 1, 1);
    assertEquals([...last.inputs].slice(countTargets(last)), Array(seqLen - countTargets(last)).fill(0));
  }
});

Deno.test("openDataset() with fraction 0 holds nothing out", async () => {
  const dataset = await open({ validationFraction: 0 });
  assertEquals([dataset.validationTokens, dataset.validationRows, dataset.validationBytes], [0, 0, 0]);
  assertEquals(dataset.trainTokens, utf8(TEXT).length);
  assertEquals(dataset.bytesPerToken, 1);
});

Deno.test("openDataset() trains a BPE on the training part alone", async () => {
  const text = "abc def ".repeat(100) + "xyzxyz ".repeat(10);
  const dataset = await open({ data: { text }, tokenizer: "bpe", validationFraction: 70 / 870 });
  assertEquals(new TextDecoder().decode(dataset.text("validation")), "xyzxyz ".repeat(10));
  const tokens = Array.from(
    { length: dataset.tokenizer.vocabSize },
    (_, id) => dataset.tokenizer.decode([id]),
  );
  assert(tokens.includes("abc") && !tokens.some((token) => token.includes("xy")));
});

Deno.test("hash is the SHA-256 over the tokens as u32", async () => {
  const tokens = Uint32Array.from(utf8(TEXT));
  assertEquals((await open()).hash, createHash("sha256").update(new Uint8Array(tokens.buffer)).digest("hex"));
});

Deno.test("openDataset() keeps the tokens in the run's folder", () =>
  withFolder(async (folder) => {
    for (const tokenizer of ["bytes", "chars", "bpe"] as const) {
      const run = `${folder}/${tokenizer}`;
      const first = await open({ tokenizer, folder: run });
      const again = await open({ tokenizer, folder: run, data: `${folder}/gone.txt` });
      assertEquals(again.hash, first.hash);
      assertEquals(again.batch(3, 4), first.batch(3, 4));
      assertEquals(again.validationBatch(0, 2), first.validationBatch(0, 2));
      assertEquals(again.validationBytes, first.validationBytes);
      assertEquals(again.tokenizer.toJSON(), first.tokenizer.toJSON());
      assertEquals(
        (await Deno.stat(`${run}/data/tokens.bin`)).size,
        2 * (first.trainTokens + first.validationTokens),
      );
    }
  }));

Deno.test("openDataset() says that the text is not the one whose tokens the run keeps, and goes on with those", () =>
  withFolder(async (folder) => {
    const path = `${folder}/text.txt`;
    const run = `${folder}/run`;
    const messages: string[] = [];
    const again = () => open({ data: path, folder: run, onMessage: (text) => messages.push(text) });
    await Deno.writeTextFile(path, TEXT);
    const { hash } = await again();
    assertEquals((await again()).hash, hash);
    assertEquals(messages, []);

    await Deno.writeTextFile(path, TEXT.replace("e", "E"));
    assertEquals((await again()).hash, hash);
    const stale =
      `The corpus (${path}) is not what the run began with: going on with the tokens that the run keeps`;
    assertEquals(messages, [stale]);
    await Deno.remove(path);
    assertEquals((await again()).hash, hash);
    assertEquals(messages, [stale, stale]);
  }));

Deno.test("openDataset() keeps where documents start", () =>
  withFolder(async (folder) => {
    await Deno.mkdir(`${folder}/texts`);
    await Deno.writeTextFile(`${folder}/texts/a.txt`, "first");
    await Deno.writeTextFile(`${folder}/texts/b.txt`, "second one\n");
    await Deno.writeTextFile(`${folder}/texts/c.txt`, "third<|endoftext|>4th");
    const separate = (restartPositions: boolean) =>
      open({
        data: `${folder}/texts`,
        folder: `${folder}/run`,
        seqLen: 33,
        validationFraction: 0.1,
        packing: { separate: true, restartPositions },
      });
    const first = await separate(true);
    assertEquals([first.trainTokens, first.validationTokens], [35, 4]);
    const { places, spans, targets } = first.batch(0, 1);
    const startsOf = (values: Uint32Array) => [...values.keys()].filter((i) => values[i] === 0);
    assertEquals(startsOf(places!), [0, 6, 17]);
    assertEquals([...targets.keys()].filter((i) => targets[i] === IGNORE), [5, 16]);
    assertEquals(spans![2 * 20], 17);
    const again = await separate(true);
    assertEquals(again.batch(0, 3), first.batch(0, 3));
    assertEquals(again.validationBatch(0, 1), first.validationBatch(0, 1));
    assertEquals((await separate(false)).batch(0, 1).spans, spans);
    assertEquals((await Deno.stat(`${folder}/run/data/documents.bin`)).size, 4 * 4);
  }));

Deno.test("openDataset() gives rows of the objective, the same after it is opened again", () =>
  withFolder(async (folder) => {
    for (const architecture of ["causalDecoder", "nonCausalDecoder", "encoderDecoder"] as const) {
      for (const kind of ["prefix", "span"] as const) {
        const objective = { kind, noiseDensity: 0.15, meanSpanLength: 3 };
        const again = () => open({ architecture, objective, folder: `${folder}/${architecture}-${kind}` });
        const first = await again();
        const second = await again();
        assertEquals(second.batch(1000, 5), first.batch(1000, 5));
        assertEquals(sliceBatch(second.batch(1003, 1), 0, 1), sliceBatch(first.batch(1000, 5), 3, 4));
        const held = first.validationBatch(0, first.validationRows);
        assertEquals(second.validationBatch(0, first.validationRows), held);
        const scored = held.targets.filter((id) => id !== IGNORE && id < 256).length;
        assertEquals([first.validationBytes, second.hash], [scored, (await open()).hash]);
        assertAlmostEquals(first.bytesPerToken, scored / countTargets(held), 1e-12);
        const ids = [...held.inputs, ...held.targets, ...held.source?.inputs ?? []];
        assert(ids.every((id) => id < first.vocabSize));
      }
    }
  }));

Deno.test("openDataset() refuses an objective that makes no sense before it reads anything", async () => {
  const packing = { separate: false, restartPositions: true };
  await assertRejects(() => open({ data: "/none/such.txt", packing }), UserError, "packing.restartPositions");
});

Deno.test("openDataset() takes four bytes a token for a large vocabulary", () =>
  withFolder(async (folder) => {
    const characters = Array.from({ length: 66_000 }, (_, i) => String.fromCodePoint(0x10000 + i)).join("");
    const data = { text: characters.slice(-400) };
    const tokenizer = trainChars(characters);
    const first = await open({ data, tokenizer, folder });
    assertEquals((await Deno.stat(`${folder}/data/tokens.bin`)).size, 4 * 200);
    assertEquals((await open({ data, tokenizer, folder })).batch(0, 3), first.batch(0, 3));
    assert(first.batch(0, 1).inputs.every((id) => id > 65_535));
    await assertRejects(() => open({ tokenizer: trainChars(TEXT), folder }), UserError, "SHA-256");
  }));

Deno.test("openDataset() names a damaged or missing file", () =>
  withFolder(async (folder) => {
    await open({ tokenizer: "bpe", folder });
    const damage = async (
      name: string,
      change: (bytes: Uint8Array) => Uint8Array | null,
      message: string,
    ) => {
      const path = `${folder}/${name}`;
      const good = await Deno.readFile(path);
      const bad = change(good.slice());
      if (bad === null) await Deno.remove(path);
      else await Deno.writeFile(path, bad);
      await assertRejects(() => open({ tokenizer: "bpe", folder }), UserError, message);
      await Deno.writeFile(path, good);
    };
    const flip = (bytes: Uint8Array) => bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 1);
    await damage("data/tokens.bin", flip, "data/tokens.bin is damaged");
    await damage("data/tokens.bin", (bytes) => bytes.subarray(2), "data/tokens.bin is damaged");
    await damage("data/tokens.bin", () => null, "data/tokens.bin is missing");
    await damage("data/documents.bin", flip, "data/documents.bin is damaged");
    await damage("data/documents.bin", (bytes) => bytes.subarray(1), "data/documents.bin is damaged");
    await damage("data/documents.bin", () => null, "data/documents.bin is missing");
    await damage("tokenizer.json", flip, "tokenizer.json is damaged");
    await damage("tokenizer.json", () => null, "tokenizer.json is missing");
    await damage("data/data.json", (bytes) => bytes.subarray(10), "data/data.json is damaged");
    await damage("data/data.json", () => utf8("{}"), "data/data.json");
    await open({ tokenizer: "bpe", folder });
  }));

Deno.test("openDataset() refuses a folder that was made with other options", () =>
  withFolder(async (folder) => {
    await open({ tokenizer: "bpe", folder });
    await assertRejects(() => open({ folder }), UserError, "tokenizer bpe, but bytes is asked for");
    await assertRejects(
      () => open({ tokenizer: "bpe", bpeVocabSize: 301, folder }),
      UserError,
      "bpeVocabSize 300",
    );
    const fraction = { tokenizer: "bpe", validationFraction: 0.2, folder } as const;
    await assertRejects(() => open(fraction), UserError, "validation.fraction 0.1, but 0.2 is asked for");
  }));

Deno.test("openDataset() leaves nothing that counts when it fails", () =>
  withFolder(async (folder) => {
    await assertRejects(() => open({ seqLen: 100_000, folder }), UserError, "a row takes 100001");
    await open({ folder, tokenizer: "chars" });
  }));

Deno.test("openDataset() says what a text lacks", async () => {
  await assertRejects(() => open({ data: { text: "" } }), UserError, "empty");
  await assertRejects(() => open({ data: "/none/such.txt" }), UserError, "/none/such.txt");
  await assertRejects(() => open({ data: { text: "short" } }), UserError, "held-out part has 1 tokens");
  await assertRejects(
    () => open({ data: { text: "short" }, validationFraction: 0 }),
    UserError,
    "lower model.seqLen",
  );
  await assertRejects(
    () => open({ tokenizer: trainChars("abc") }),
    UserError,
    "is not among the 3 characters",
  );
});

Deno.test("openDataset() keeps the special tokens of another model, whose data are others", () =>
  withFolder(async (folder) => {
    const specialTokens = {
      bos_token_id: null,
      eos_token_id: [10, 13],
      pad_token_id: 0,
      decoder_start_token_id: 32,
    };
    const objective = { kind: "prefix", noiseDensity: 0.15, meanSpanLength: 3 } as const;
    const rows = { architecture: "encoderDecoder", objective } as const;
    const first = await open({ ...rows, specialTokens, folder });
    assertEquals([first.vocabSize, first.batch(0, 1).inputs[0]], [256, 32]);
    assertEquals(first.specialTokens, specialTokens);
    const plain = await open(rows);
    assertEquals([plain.vocabSize, plain.batch(0, 1).inputs[0]], [257, 256]);
    const other = await open({ specialTokens: { ...specialTokens, decoder_start_token_id: 33 } });
    assertEquals(new Set([first, plain, other].map(({ hash }) => hash)).size, 3);
    assertEquals((await open({ ...rows, specialTokens, folder })).hash, first.hash);
    await assertRejects(() => open({ ...rows, folder }), UserError, "special tokens");

    const kept = await openKeptDataset(folder, { ...rows, seqLen: T, seed: 1 });
    assertEquals([kept?.hash, kept?.batch(0, 3)], [first.hash, first.batch(0, 3)]);
    assertEquals(await openKeptDataset(`${folder}/none`, { seqLen: T, seed: 1 }), null);
  }));
