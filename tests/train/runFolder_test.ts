import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { resolveConfig } from "../../src/config/load.ts";
import { UserError } from "../../src/errors.ts";
import { configDigest, groupConfigDigest, openRunFolder } from "../../src/train/runFolder.ts";
import { withoutLocks } from "../withoutLocks.ts";
import {
  checkpointNames,
  readMetrics,
  readTree,
  tinyConfig,
  tinyDataset,
  tinyRun,
  withFolder,
} from "./tinyRun.ts";

Deno.test("openRunFolder() lets one process in at a time", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    {
      using _held = await openRunFolder(run, config);
      const error = await assertRejects(() => openRunFolder(run, config), UserError);
      assert(error.message.includes(`in use by process ${Deno.pid}`), error.message);
    }
    using _again = await openRunFolder(run, config);
  });
});

Deno.test("openRunFolder() lets the next one in while another thread starts processes, which have its files open for a moment", async () => {
  const starts =
    "for (;;) await new Deno.Command(Deno.execPath(), { args: ['-V'], stdout: 'null' }).output();";
  const url = `data:application/javascript,${encodeURIComponent(`postMessage(0); ${starts}`)}`;
  const worker = new Worker(url, { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  try {
    await withFolder(async (run) => {
      for (let i = 0; i < 300; i++) (await openRunFolder(run, tinyConfig()))[Symbol.dispose]();
    });
  } finally {
    worker.terminate();
  }
});

Deno.test("openRunFolder() says in one line that the file system has no locks", async () => {
  await withFolder(async (run) => {
    const { message } = await assertRejects(
      () => withoutLocks(() => openRunFolder(run, tinyConfig())),
      UserError,
    );
    assertMatch(message, /^Cannot lock ".*lock": No locks available; .* on a file system with locks/);
    using _lockable = await openRunFolder(run, tinyConfig());
  });
});

Deno.test("openRunFolder() keeps the config as it was resolved", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    using _folder = await openRunFolder(run, config);
    const path = join(run, "config.jsonc");
    assertEquals(resolveConfig({ file: { path, text: Deno.readTextFileSync(path) } }), config);
  });
});

Deno.test("openRunFolder() refuses another config and names the keys that differ", async () => {
  await withFolder(async (run) => {
    (await openRunFolder(run, tinyConfig()))[Symbol.dispose]();
    await Deno.mkdir(join(run, "checkpoints", "step-3"));
    const other = tinyConfig("model.modelDim=6", "optimizer.clip=2", "log.every=5");
    const error = await assertRejects(() => openRunFolder(run, other), UserError);
    assert(error.message.includes("(model.modelDim: 4 -> 6, optimizer.clip: 1 -> 2)"), error.message);
    using _still = await openRunFolder(run, tinyConfig());
  });
});

Deno.test("openRunFolder() makes a folder that is removed again where no step is done", async () => {
  await withFolder(async (folder) => {
    const made = join(folder, "runs", "made");
    {
      using _folder = await openRunFolder(made, tinyConfig());
      await Deno.writeTextFile(join(made, "tokenizer.json"), "{}");
    }
    assertEquals([...Deno.readDirSync(join(folder, "runs"))], []);

    const there = join(folder, "there");
    await Deno.mkdir(there);
    (await openRunFolder(there, tinyConfig()))[Symbol.dispose]();
    assertEquals([...Deno.readDirSync(there)].length, 3, "it was not made");

    const trained = join(folder, "trained");
    const failing = tinyRun(trained, tinyConfig(), { isPoisoned: (_, step) => step === 2 });
    await assertRejects(() => failing, UserError, "expected finite numbers");
    assertEquals(readMetrics(trained).map(({ step }) => step), [1]);
  });
});

Deno.test("configDigest() of a run that was made before a key was added is still the same", () => {
  // As checkpoints have it that were made before there was model.logitSoftCap or scale.wire.
  const before = "678e092bbeebbf836bbdf7e6a6fe5f3f173c10fc9740b4417050af5acadfbbea";
  assertEquals(configDigest(resolveConfig({})), before);
  for (const change of ["model.logitSoftCap=30", "scale.wire=bf16", "scale.wire=bf16Gather"]) {
    assertNotEquals(configDigest(resolveConfig({ overrides: [change] })), before, change);
  }
});

Deno.test("openRunFolder() leaves a folder alone that holds something else than a run", async () => {
  await withFolder(async (folder) => {
    const model = join(folder, "model");
    await Deno.mkdir(model);
    for (const name of ["config.json", "tokenizer.json"]) await Deno.writeTextFile(join(model, name), name);
    const before = readTree(model);
    const refused = async () => {
      const { message } = await assertRejects(() => openRunFolder(model, tinyConfig()), UserError);
      assertEquals(readTree(model), before);
      assertEquals([...Deno.readDirSync(model)].length, 2, "nothing was made");
      return message;
    };
    assert(
      (await refused()).endsWith(
        `choose another name (name=...), or train on the model that lies there: from=${model}`,
      ),
    );
    delete before["config.json"];
    await Deno.rename(join(model, "config.json"), join(model, "notes.txt"));
    before["notes.txt"] = new TextEncoder().encode("config.json");
    assert((await refused()).includes('it has "notes.txt" but no config.jsonc'));

    const empty = join(folder, "empty"); // or what a start leaves that was killed before it had a config
    for (const name of ["", "checkpoints"]) await Deno.mkdir(join(empty, name));
    for (const name of ["lock", "config.jsonc.tmp", ".hidden"]) {
      await Deno.writeTextFile(join(empty, name), "");
    }
    using _folder = await openRunFolder(empty, tinyConfig());
  });
});

Deno.test("openRunFolder() says in one line that it can't make the folder", async () => {
  await withFolder(async (folder) => {
    const path = join(folder, "file");
    await Deno.writeTextFile(path, "");
    await assertRejects(() => openRunFolder(join(path, "run"), tinyConfig()), UserError, "Cannot write");
  });
});

Deno.test("openRunFolder() keeps what a start without a checkpoint has left for the same config", async () => {
  await withFolder(async (run) => {
    (await openRunFolder(run, tinyConfig()))[Symbol.dispose]();
    await Deno.writeTextFile(join(run, "tokenizer.json"), "{}");
    using _folder = await openRunFolder(run, tinyConfig("log.every=5"));
    assertEquals(await Deno.readTextFile(join(run, "tokenizer.json")), "{}");
  });
});

Deno.test("openRunFolder() begins anew with a mended config where no checkpoint was made", async () => {
  await withFolder(async (run) => {
    (await openRunFolder(run, tinyConfig()))[Symbol.dispose]();
    await Deno.writeTextFile(join(run, "tokenizer.json"), "{}");
    const mended = tinyConfig("model.modelDim=6");
    using _folder = await openRunFolder(run, mended);
    const path = join(run, "config.jsonc");
    assertEquals(resolveConfig({ file: { path, text: Deno.readTextFileSync(path) } }), mended);
    const names = [...Deno.readDirSync(run)].map(({ name }) => name).sort();
    assertEquals(names, ["checkpoints", "config.jsonc", "lock"]);
  });
});

Deno.test("openRunFolder() lets length, logs, checkpoints and tuning change", async () => {
  const free = [
    "name=other",
    "train.duration=1e3 tokens",
    "train.nonFinite=skip",
    "train.skippedStepCounts=false",
    "log.every=5",
    "log.sampleEvery=1m",
    "checkpoint.keep=7",
    "checkpoint.every=null",
    "validation.every=null",
    "validation.samples=9",
    "engine.tune=false",
    "engine.maxBinding=65536",
  ];
  for (const change of free) {
    await withFolder(async (run) => {
      (await openRunFolder(run, tinyConfig()))[Symbol.dispose]();
      const config = tinyConfig(change);
      assertEquals(configDigest(config), configDigest(tinyConfig()), change);
      (await openRunFolder(run, config))[Symbol.dispose]();
      const path = join(run, "config.jsonc");
      assertEquals(resolveConfig({ file: { path, text: Deno.readTextFileSync(path) } }), config);
    });
  }
  for (
    const change of ["seed=1", "validation.fraction=0.2", "train.batchSize=7", "optimizer.warmup=3 steps"]
  ) {
    assertNotEquals(configDigest(tinyConfig(change)), configDigest(tinyConfig()), change);
  }
});

Deno.test("groupConfigDigest() leaves out what the nodes of a group may have of their own", () => {
  const digest = (...changes: string[]) => groupConfigDigest(tinyConfig(...changes));
  for (const change of ["data=elsewhere", "log.every=7", "checkpoint.keep=3", "engine.tune=false"]) {
    assertEquals(digest(change), digest(), change);
  }
  for (const change of ["name=other", "seed=1", "train.duration=9 steps", "scale.virtualWorkers=2"]) {
    assertNotEquals(digest(change), digest(), change);
  }
});

Deno.test("a checkpoint of another config or of other data is refused", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    await tinyRun(run, config);
    const dataset = { ...await tinyDataset(config), hash: "other" };
    const data = await assertRejects(() => tinyRun(run, config, { dataset }), UserError);
    assert(data.message.includes("was made with other data"), data.message);
    await Deno.remove(join(run, "config.jsonc"));
    const edited = await assertRejects(() => tinyRun(run, tinyConfig("seed=1")), UserError);
    assert(edited.message.includes("was made with another config"), edited.message);
  });
});

Deno.test("openRunFolder() removes what a killed process left half-written", async () => {
  await withFolder(async (run) => {
    const config = tinyConfig();
    await tinyRun(run, config);
    const leftover = join(run, "checkpoints", ".tmp-step-9");
    await Deno.mkdir(leftover);
    await Deno.writeTextFile(join(leftover, "model.safetensors"), "half");
    using _folder = await openRunFolder(run, config);
    assertEquals(checkpointNames(run), ["step-6", "step-7"]);
  });
});
