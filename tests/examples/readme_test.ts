import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { withFolder } from "../train/tinyRun.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

Deno.test("the README's first program runs", async () => {
  const readme = await Deno.readTextFile(join(ROOT, "README.md"));
  const program = /^```ts\n(.*?)^```$/ms.exec(readme)?.[1] ?? "";
  assert(program.includes('"./mod.ts"') && program.includes("50 steps"), program);
  await withFolder(async (folder) => {
    const path = join(folder, "program.ts");
    // one step will do, and kernels are not measured for it
    const quick = program.replace("./mod.ts", `${new URL("../../mod.ts", import.meta.url)}`)
      .replace('{ duration: "50 steps" }', '{ duration: "1 steps" }, engine: { tune: false }');
    await Deno.writeTextFile(path, quick);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--check", "--allow-all", "--config", join(ROOT, "deno.json"), path],
      cwd: folder,
      env: { NO_COLOR: "1" },
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assert(stdout.length >= 100); // a byte or more for each token, and a line end for each piece
    assert((await Deno.stat(join(folder, "runs", "quick", "checkpoints", "step-1"))).isDirectory);
  });
});
