import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { openTuningCache } from "../../src/engine/tuningCache.ts";

/** Runs `body` with a cache folder of its own. */
async function withCache(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.get("XDG_CACHE_HOME");
  Deno.env.set("XDG_CACHE_HOME", folder);
  try {
    await body(join(folder, "bloomery"));
  } finally {
    if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
    else Deno.env.set("XDG_CACHE_HOME", before);
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("merge() keeps what another process has written since", async () => {
  await withCache(async (folder) => {
    const [ours, theirs] = [openTuningCache("a GPU|driver 1"), openTuningCache("a GPU|driver 1")];
    assertEquals([ours.read(), theirs.read()], [[], []]);
    theirs.merge([["b", "2"], ["c", "3"]]);
    ours.merge([["a", "1"], ["c", "4"]]);
    for (const cache of [ours, theirs]) {
      assertEquals(new Map(cache.read()), new Map([["a", "1"], ["b", "2"], ["c", "4"]]));
    }
    assertEquals(openTuningCache("a GPU|driver 2").read(), []);
    await Deno.writeTextFile(join(folder, "a-GPU-driver-1.json"), '{"not": "ours"}');
    assertEquals(ours.read(), []);
    ours.merge([["a", "1"]]);
    assertEquals(theirs.read(), [["a", "1"]]);
  });
});

Deno.test("merge() of several processes at the same time loses nothing", async () => {
  await withCache(async () => {
    const script = `import { openTuningCache } from "${new URL(
      "../../src/engine/tuningCache.ts",
      import.meta.url,
    )}";
      for (let i = 0; i < 50; i++) openTuningCache("GPU").merge([[Deno.args[0] + i, "x"]]);`;
    const url = `data:application/typescript,${encodeURIComponent(script)}`;
    const config = new URL("../../deno.json", import.meta.url).pathname;
    const children = ["a", "b"].map((name) =>
      new Deno.Command(Deno.execPath(), { args: ["run", "-A", "--no-check", "-c", config, url, name] })
        .output()
    );
    for (const { code, stderr } of await Promise.all(children)) {
      assertEquals(code, 0, new TextDecoder().decode(stderr));
    }
    assertEquals(openTuningCache("GPU").read().length, 100);
  });
});
