import { assertEquals } from "@std/assert";
import { basename, join } from "@std/path";
import { writeAtomically } from "../../src/data/atomicFile.ts";
import { diskOrder } from "../diskOrder.ts";
import { withFolder } from "../train/tinyRun.ts";

Deno.test("writeAtomically() has the content on the disk before its name, and then the name", async () => {
  await withFolder(async (folder) => {
    assertEquals(await diskOrder(() => writeAtomically(join(folder, "file"), "new")), [
      "sync file.tmp",
      "file.tmp -> file",
      `sync ${basename(folder)}`,
    ]);
    assertEquals(await Deno.readTextFile(join(folder, "file")), "new");
  });
});
