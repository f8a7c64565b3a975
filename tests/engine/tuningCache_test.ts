import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { openTuningCache } from "../../src/engine/tuningCache.ts";
import { withFolder } from "../train/tinyRun.ts";

Deno.test("merge() keeps what another process has written since", async () => {
  await withFolder(async (folder) => {
    const [ours, theirs] = [
      openTuningCache("a GPU|driver 1", folder),
      openTuningCache("a GPU|driver 1", folder),
    ];
    assertEquals([ours.read(), theirs.read()], [[], []]);
    theirs.merge([["b", "2"], ["c", "3"]]);
    ours.merge([["a", "1"], ["c", "4"]]);
    for (const cache of [ours, theirs]) {
      assertEquals(new Map(cache.read()), new Map([["a", "1"], ["b", "2"], ["c", "4"]]));
    }
    assertEquals(openTuningCache("a GPU|driver 2", folder).read(), []);
    await Deno.writeTextFile(join(folder, "a-GPU-driver-1.json"), '{"not": "ours"}');
    assertEquals(ours.read(), []);
    ours.merge([["a", "1"]]);
    assertEquals(theirs.read(), [["a", "1"]]);
  });
});

Deno.test("merge() of several processes at the same time loses nothing in the user's cache folder", async () => {
  await withFolder(async (home) => {
    const script = `import { openTuningCache } from "${new URL(
      "../../src/engine/tuningCache.ts",
      import.meta.url,
    )}";
      for (let i = 0; i < 50; i++) openTuningCache("GPU").merge([[Deno.args[0] + i, "x"]]);`;
    const url = `data:application/typescript,${encodeURIComponent(script)}`;
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const children = ["a", "b"].map((name) =>
      new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "-c", config, url, name],
        env: { XDG_CACHE_HOME: home },
      }).output()
    );
    for (const { code, stderr } of await Promise.all(children)) {
      assertEquals(code, 0, new TextDecoder().decode(stderr));
    }
    assertEquals(openTuningCache("GPU", join(home, "bloomery")).read().length, 100);
  });
});
