import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "@std/path";
import { deriveModel } from "../../src/config/deriveModel.ts";
import { UserError } from "../../src/errors.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { newestIntact, resolveModelFolder } from "../../src/train/findCheckpoint.ts";
import { diskOrder } from "../diskOrder.ts";
import { fakeEngine } from "./fakeEngine.ts";
import { checkpointNames, tinyConfig, tinyDataset, tinyRun, withFolder } from "./tinyRun.ts";

const FILES = [
  "config.json",
  "manifest.json",
  "model.safetensors",
  "optimizer.safetensors",
  "state.json",
  "tokenizer.json",
];

/** Changes one byte in the middle of a file. */
function damage(path: string): void {
  const bytes = Deno.readFileSync(path);
  bytes[bytes.length >> 1] ^= 1;
  Deno.writeFileSync(path, bytes);
}

Deno.test("saveCheckpoint() writes the six files, with the digest as the contract defines it", async () => {
  await withFolder(async (run) => {
    const { digest } = await tinyRun(run, tinyConfig());
    const folder = join(run, "checkpoints", "step-7");
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), FILES);
    const hash = createHash("sha256");
    for (const name of ["model", "optimizer"]) {
      using source = openSafetensors(join(folder, `${name}.safetensors`));
      for (const tensor of [...source.tensors.keys()].sort()) hash.update(source.readBytes(tensor));
    }
    const manifest = JSON.parse(Deno.readTextFileSync(join(folder, "manifest.json")));
    assertEquals([hash.digest("hex"), manifest.digest], [digest, digest]);
    for (const name of FILES.filter((name) => name !== "manifest.json")) {
      const bytes = Deno.readFileSync(join(folder, name));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      assertEquals(manifest.files[name], { bytes: bytes.length, sha256 });
    }
  });
});

Deno.test("saveCheckpoint() has all of it on the disk before it counts", async () => {
  await withFolder(async (run) => {
    const order = await diskOrder(() =>
      tinyRun(run, tinyConfig("train.duration=2 steps", "checkpoint.every=2 steps"))
    );
    const renamed = order.indexOf(".tmp-step-2 -> step-2");
    const before = order.slice(renamed - FILES.length - 1, renamed);
    assertEquals(before.toSorted(), ["sync .tmp-step-2", ...FILES.map((name) => `sync ${name}`)]);
    assertEquals(before.slice(-2), ["sync manifest.json", "sync .tmp-step-2"]);
    assertEquals(order[renamed + 1], "sync checkpoints");
  });
});

for (const file of FILES) {
  Deno.test(`a checkpoint with a damaged ${file} is refused by name, and the one before is taken`, async () => {
    await withFolder(async (run) => {
      const config = tinyConfig();
      const { digest } = await tinyRun(run, config);
      const [before, newest] = ["step-6", "step-7"].map((name) => join(run, "checkpoints", name));
      damage(join(newest, file));
      const error = await assertRejects(() => resolveModelFolder(newest, () => {}), UserError);
      assert(error.message.includes(`step-7 is damaged: ${file}`), error.message);
      assert(error.message.includes(`"${before}" is intact`), error.message);
      assertEquals(await resolveModelFolder(run, () => {}), before);

      const messages: string[] = [];
      const again = await tinyRun(run, config, { onMessage: (text) => messages.push(text) });
      assert(messages[0].includes(`step-7 is damaged: ${file}`), messages[0]);
      assertEquals(messages[1], "Going on from step 6 of 7");
      assertEquals(again.digest, digest);
      assertEquals(checkpointNames(run), ["damaged-step-7", "step-6", "step-7"]);
    });
  });
}

Deno.test("a run with no intact checkpoint is refused, and goes on once one is mended", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    const { digest } = await tinyRun(run, config);
    const paths = ["step-6", "step-7"].map((name) => join(run, "checkpoints", name, "model.safetensors"));
    paths.forEach(damage);
    const error = await assertRejects(() => tinyRun(run, config), UserError);
    assert(
      /step-7 is damaged.*none before it is intact; restore the file/.test(error.message),
      error.message,
    );
    assertEquals(checkpointNames(run), ["step-6", "step-7"]);
    damage(paths[0]);
    assertEquals((await tinyRun(run, config)).digest, digest);
  });
});

Deno.test("a checkpoint that lacks a file or a part of one is refused", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig());
    const path = (file: string) => join(run, "checkpoints", "step-7", file);
    Deno.truncateSync(path("optimizer.safetensors"), 1000);
    const found: string[] = [];
    const look = () => newestIntact(join(run, "checkpoints"), (_, { message }) => void found.push(message));
    assertEquals((await look())?.state.step, 6);
    Deno.removeSync(path("model.safetensors"));
    await look();
    Deno.removeSync(path("manifest.json"));
    await look();
    assert(/optimizer.safetensors: it has 1000 bytes, expected \d+$/.test(found[0]), found[0]);
    assert(found[1].endsWith("model.safetensors: it is missing"), found[1]);
    assert(found[2].includes("manifest.json: "), found[2]);
  });
});

Deno.test("a checkpoint's folder without its manifest is refused, as long as one file tells that it is one", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig());
    const [before, newest] = ["step-6", "step-7"].map((name) => join(run, "checkpoints", name));
    Deno.removeSync(join(newest, "manifest.json"));
    for (const file of ["optimizer.safetensors", "state.json"]) {
      const error = await assertRejects(() => resolveModelFolder(newest, () => {}), UserError);
      assert(error.message.startsWith("Checkpoint step-7 is damaged: manifest.json: "), error.message);
      assert(error.message.endsWith(`"${before}" is intact, use that`), error.message);
      Deno.removeSync(join(newest, file));
    }
    assertEquals(await resolveModelFolder(newest, () => {}), newest); // a model's folder as any other
  });
});

Deno.test("a run without an intact checkpoint is refused as a source of weights", async () => {
  await withFolder(async (run) => {
    await tinyRun(run, tinyConfig("checkpoint.keep=1", "checkpoint.every=null"));
    damage(join(run, "checkpoints", "step-7", "state.json"));
    const error = await assertRejects(() => resolveModelFolder(run, () => {}), UserError);
    assert(error.message.includes("has no intact checkpoint"), error.message);
  });
});

Deno.test("saveCheckpoint() refuses a full disk and loses nothing that was saved", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    let asked = 0;
    const freeBytes = () => asked++ < 2 ? 1e9 : 1e6; // enough at the start and in step 3
    const error = await assertRejects(() => tinyRun(run, config, { freeBytes }), UserError);
    assert(error.message.startsWith("The disk is too full for a checkpoint"), error.message);
    assertEquals(checkpointNames(run), ["step-3"]);
    const { digest } = await tinyRun(run, config);
    assertEquals(digest, (await tinyRun(null, config)).digest);
  });
});

Deno.test("runTraining() asks for a checkpoint's space before its first step, and leaves no folder without it", async () => {
  await withFolder(async (folder) => {
    const run = join(folder, "run");
    let steps = 0;
    const start = () =>
      tinyRun(run, tinyConfig(), { freeBytes: () => 1e6, onAccumulate: () => void steps++ });
    const error = await assertRejects(start, UserError);
    assertMatch(
      error.message,
      /^The disk is too full .* has 1\.0 MB free, expected at least 1\.1 MB; free some/,
    );
    assertEquals([steps, [...Deno.readDirSync(folder)]], [0, []]);
    await tinyRun(run, tinyConfig());
    const { digest } = await tinyRun(run, tinyConfig(), { freeBytes: () => 0 });
    assertEquals(digest, (await tinyRun(null, tinyConfig())).digest, "a run that is over needs no space");
  });
});

Deno.test("a save that fails half-way leaves the checkpoints before it and no half one", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    const dataset = await tinyDataset(config);
    const spec = deriveModel(config.model, dataset.tokenizer.vocabSize);
    const real = fakeEngine(spec, { microBatchSize: 2, zLoss: config.model.zLoss });
    let moments = 0;
    const engine: Engine = {
      ...real,
      read(kind, name) {
        if (kind === "optimizer" && ++moments > real.report.optimizerState.length) {
          return Promise.reject(new Error("the device was lost"));
        }
        return real.read(kind, name);
      },
    };
    await assertRejects(() => tinyRun(run, config, { engine, dataset }), Error, "the device was lost");
    assertEquals(checkpointNames(run), ["step-3"]);
    assertEquals((await tinyRun(run, config)).digest, (await tinyRun(null, config)).digest);
    assertEquals(checkpointNames(run), ["step-6", "step-7"]);
  });
});

Deno.test("a manifest that was changed by hand is refused", async () => {
  await withFolder(async (run) => {
    const { digest } = await tinyRun(run, tinyConfig());
    const path = join(run, "checkpoints", "step-7", "manifest.json");
    Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace(digest, "0".repeat(64)));
    const messages: string[] = [];
    await resolveModelFolder(run, (text) => messages.push(text));
    assertEquals(messages, ["Checkpoint step-7 is damaged: manifest.json: its checksum differs"]);
  });
});
