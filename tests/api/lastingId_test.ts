import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { join } from "@std/path";
import { lastingId } from "../../src/api/join.ts";
import { openRunFolder } from "../../src/train/runFolder.ts";
import { tinyConfig, withFolder } from "../train/tinyRun.ts";

Deno.test("lastingId() lasts with a folder, goes with it, and is another for another", async () => {
  await withFolder(async (folder) => {
    const [a, b, moved] = ["a", "b", "moved"].map((name) => join(folder, name));
    for (const path of [a, b]) await Deno.mkdir(path);
    const id = await lastingId(a);
    assertMatch(id!, /^node-[0-9a-f]{8}$/);
    assertEquals(await lastingId(a), id);
    assertNotEquals(await lastingId(b), id);
    await Deno.rename(a, moved);
    assertEquals(await lastingId(moved), id);
    await Deno.mkdir(a);
    assertNotEquals(await lastingId(a), id); // of the same machine and path
    assertEquals(await lastingId(null), undefined);
  });
});

Deno.test("lastingId() outlasts a run that begins anew with a mended config", async () => {
  await withFolder(async (folder) => {
    const run = join(folder, "run");
    const joined = async (...overrides: string[]) => {
      using _held = await openRunFolder(run, tinyConfig(...overrides));
      await Deno.writeTextFile(join(run, "metrics.jsonl"), ""); // as after a first step: the folder is kept
      return await lastingId(run);
    };
    const id = await joined();
    assertEquals(await joined("model.modelDim=6"), id);
  });
});
